"use strict";

const TEXTS = {
  en: {
    working: "Classifying…", mapping: "Drawing the heat map…", failed: "That did not work",
    busy: "The server is busy. Trying again in {n} s.", offline: "The server cannot be reached.",
    likely: "Most probable: {class}, {percent}", map: "Heat map for {class}",
    blank: "Nothing in the photo speaks for {class}: the heat map is empty.",
    shed: "The server is too busy to draw a heat map just now.",
    photo: "Your photo", mapAlt: "Heat map for {class} over the photo",
    not_a_photo: "This file is not a photo. Choose a JPEG, PNG, WebP or BMP file.",
    several: "Please drop one photo at a time.", done: "Done in {ms} ms.",
    model: "Model", precision: "Numbers", size: "Looks at", classes: "Classes", origin: "Made from",
    pixels: "{w} × {h} pixels", unknown: "not known",
    loading: "The model is not loaded yet. The first photo will load it.",
  },
  vi: {
    notice: "Đây là kết quả của một mô hình thống kê, không phải chẩn đoán. Đây không phải thiết bị y tế. Hãy đi khám bác sĩ nếu có điều gì trên da làm bạn lo lắng.",
    drop: "Kéo thả một ảnh vào đây, hoặc", choose: "Chọn ảnh", take: "Chụp ảnh",
    privacy: "Ảnh chỉ được phân loại trong bộ nhớ rồi bị xóa: ảnh không được lưu lại.",
    fields: "Về người được chụp (để trống nếu không biết)", key: "Khóa API của máy chủ này",
    again: "Phân loại lại", pick: "Chọn một lớp để xem phần nào của ảnh ủng hộ lớp đó.",
    card: "Về mô hình",
    is: "Mô hình so sánh ảnh với các lớp mà nó được huấn luyện, và chỉ với các lớp đó: nó không có câu trả lời cho bệnh khác, cho da khỏe mạnh, hay cho ảnh không chụp da. Tổng các phần trăm luôn là 100.",
    heat: "Bản đồ nhiệt cho thấy phần nào của ảnh có trọng lượng cho một lớp (Grad-CAM). Nó giải thích mô hình, không giải thích làn da.",
    docs: "Giao diện cho chương trình",
    working: "Đang phân loại…", mapping: "Đang vẽ bản đồ nhiệt…", failed: "Không thực hiện được",
    busy: "Máy chủ đang bận. Thử lại sau {n} giây.", offline: "Không kết nối được với máy chủ.",
    likely: "Khả năng cao nhất: {class}, {percent}", map: "Bản đồ nhiệt cho {class}",
    blank: "Không có phần nào của ảnh ủng hộ {class}: bản đồ nhiệt trống.",
    shed: "Máy chủ đang quá bận để vẽ bản đồ nhiệt.",
    photo: "Ảnh của bạn", mapAlt: "Bản đồ nhiệt cho {class} trên ảnh",
    not_a_photo: "Tệp này không phải ảnh. Hãy chọn tệp JPEG, PNG, WebP hoặc BMP.",
    several: "Vui lòng thả mỗi lần một ảnh.", done: "Xong trong {ms} ms.",
    model: "Mô hình", precision: "Kiểu số", size: "Kích thước xem", classes: "Các lớp", origin: "Tạo từ",
    pixels: "{w} × {h} điểm ảnh", unknown: "không rõ",
    loading: "Mô hình chưa được nạp. Nó sẽ được nạp với ảnh đầu tiên.",
  },
};

const at = (id) => document.getElementById(id);
const state = { language: "en", file: null, url: null, answer: null, shown: null, model: null, turn: 0 };

// The page is written in English: its own texts are the English ones.
for (const node of document.querySelectorAll("[data-t]")) {
  TEXTS.en[node.dataset.t] ??= node.textContent;
}

function say(key, values = {}) {
  const text = TEXTS[state.language][key] ?? TEXTS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

function percent(share) {
  const shown = 100 * share;
  if (share > 0 && shown < 0.05) return "<0.1 %";
  if (share < 1 && shown >= 99.95) return ">99.9 %";
  return shown.toFixed(1) + " %";
}

function status(text, bad = false) {
  at("status").textContent = text;
  at("status").classList.toggle("bad", bad);
}

function speak(language) {
  state.language = language;
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = say(node.dataset.t);
  for (const button of document.querySelectorAll(".language")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
  try { localStorage.setItem("language", language); } catch { /* private windows have no storage */ }
  showCard();
  if (state.answer) showAnswer();
  if (state.answer && !at("status").classList.contains("bad")) status("");
}

function showCard() {
  const card = at("card");
  card.replaceChildren();
  const row = (name, value) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    [dt.textContent, dd.textContent] = [say(name), value];
    card.append(dt, dd);
  };
  const model = state.model;
  if (!model) {
    row("model", say("loading"));
    return;
  }
  const [h, w] = model.input_size;
  row("model", model.id);
  row("classes", model.labels.join(", "));
  row("size", say("pixels", { w, h }));
  row("precision", model.precision);
  const sha = model.source_sha256 ? ", sha256 " + model.source_sha256.slice(0, 16) + "…" : "";
  row("origin", (model.source_format || say("unknown")) + sha);
}

// The server says which values a field takes: `one of a, b, c`, or a number.
function showFields() {
  const fields = state.model?.fields ?? [];
  const box = at("fields");
  box.hidden = fields.length === 0;
  for (const field of fields) {
    if (box.querySelector(`[name="${CSS.escape(field.name)}"]`)) continue;
    const label = document.createElement("label");
    const name = document.createElement("span");
    name.textContent = field.name;
    const choices = /^one of (.+)$/.exec(field.takes);
    let input;
    if (choices) {
      input = document.createElement("select");
      for (const value of ["", ...choices[1].split(", ")]) input.add(new Option(value, value));
    } else {
      input = document.createElement("input");
      input.inputMode = "decimal";
    }
    input.name = field.name;
    const hint = document.createElement("span");
    hint.className = "small";
    hint.textContent = choices ? "" : field.takes;
    label.append(name, input, hint);
    box.append(label);
  }
}

async function call(path, options = {}) {
  const key = at("key").value;
  const headers = key ? { "X-API-Key": key } : {};
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401 || response.status === 403) at("key-row").hidden = false;
  return response;
}

async function loadModel() {
  try {
    const response = await call("/version");
    if (response.ok) state.model = (await response.json()).model ?? null;
  } catch { /* told when a photo is sent */ }
  showCard();
  showFields();
}

const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// Sends the photo; while the server is busy, again when it says, at most five times.
async function ask(chosen, turn) {
  const body = new FormData();
  body.append("image", state.file);
  body.append("gradcam", "1");
  body.append("alpha", "1");
  if (chosen) body.append("class", chosen);
  for (const input of at("fields").querySelectorAll("input, select")) {
    if (input.value.trim()) body.append(input.name, input.value.trim());
  }
  let answer;
  for (let attempt = 0; ; attempt++) {
    const response = await call("/predict", { method: "POST", body });
    answer = await response.json();
    if (response.ok) return answer;
    // Some models have no layer to draw: their classes are an answer, too.
    if (answer.error?.kind?.startsWith("gradcam") && body.has("gradcam")) {
      for (const name of ["gradcam", "alpha", "class"]) body.delete(name);
      continue;
    }
    if (response.status !== 429 || attempt === 5 || turn !== state.turn) break;
    const seconds = Math.min(Number(response.headers.get("Retry-After")) || 1, 30);
    for (let left = seconds; left > 0; left--) {
      status(say("busy", { n: left }));
      await wait(1);
    }
  }
  const { message, hint } = answer.error ?? {};
  throw new Error([message, hint].filter(Boolean).join(". "));
}

async function classify(chosen = null) {
  if (!state.file) return;
  const turn = ++state.turn;
  status(say(chosen ? "mapping" : "working"));
  try {
    const began = performance.now();
    const answer = await ask(chosen, turn);
    if (turn !== state.turn) return;
    state.answer = answer;
    state.shown = answer.gradcam?.class ?? answer.top1;
    const first = !chosen;
    if (!state.model) loadModel();
    showAnswer();
    const ms = Math.round(performance.now() - began);
    status(answer.gradcam_shed ? say("shed") : say("done", { ms }));
    if (first) at("answer-title").focus();
  } catch (error) {
    if (turn !== state.turn) return;
    const text = error instanceof TypeError ? say("offline") : error.message;
    status(say("failed") + ": " + text, true);
  }
  at("again").hidden = false;
}

function showAnswer() {
  const { answer } = state;
  const best = answer.predictions[0];
  at("answer-title").textContent =
    say("likely", { class: best.class, percent: percent(best.probability) });
  const list = at("classes");
  const focused = document.activeElement?.dataset?.class;
  list.replaceChildren();
  for (const { class: name, probability } of answer.predictions) {
    const [item, button] = [document.createElement("li"), document.createElement("button")];
    const [label, share, bar, fill] = ["span", "b", "span", "i"].map((tag) => document.createElement(tag));
    button.type = "button";
    button.dataset.class = name;
    button.setAttribute("aria-pressed", String(name === state.shown));
    [label.textContent, share.textContent, bar.className] = [name, percent(probability), "bar"];
    fill.style.width = 100 * probability + "%";
    bar.append(fill);
    button.append(label, share, bar);
    button.addEventListener("click", () => classify(name));
    item.append(button);
    list.append(item);
    if (name === focused) button.focus();
  }
  at("photo").src = state.url;
  at("photo").alt = say("photo");
  const map = answer.gradcam;
  at("map").hidden = at("map-controls").hidden = !map;
  if (map) {
    const drawn = map.class ?? best.class;
    at("map").src = "data:image/png;base64," + map.png_base64;
    at("map").alt = say("mapAlt", { class: drawn });
    at("map-title").textContent = say(map.blank ? "blank" : "map", { class: drawn });
    fade();
  }
  at("answer").hidden = false;
}

function fade() {
  at("map").style.opacity = at("opacity").value / 100;
}

function take(files) {
  if (files.length === 0) return;
  if (files.length > 1) return status(say("several"), true);
  if (!/^image\//.test(files[0].type)) return status(say("not_a_photo"), true);
  if (state.url) URL.revokeObjectURL(state.url);
  state.file = files[0];
  state.url = URL.createObjectURL(files[0]);
  state.answer = null;
  at("answer").hidden = true;
  classify();
}

for (const id of ["file", "camera"]) {
  at(id).addEventListener("change", (event) => {
    take([...event.target.files]);
    // So that the same photo can be chosen again.
    event.target.value = "";
  });
}
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) at("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  take([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) take([...event.clipboardData.files]);
});
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  classify();
});
at("key").addEventListener("change", () => state.model || loadModel());
at("opacity").addEventListener("input", fade);
for (const button of document.querySelectorAll(".language")) {
  button.addEventListener("click", () => speak(button.dataset.language));
}

let language = null;
try { language = localStorage.getItem("language"); } catch { /* private windows have no storage */ }
speak(language in TEXTS ? language : navigator.language.startsWith("vi") ? "vi" : "en");
loadModel();
