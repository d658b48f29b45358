"use strict";
const at = (id) => document.getElementById(id);
at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const status = at("status"), table = at("classes"), map = at("map");
  table.hidden = map.hidden = true;
  status.textContent = "Working…";
  const body = new FormData();
  body.append("image", at("image").files[0]);
  if (at("gradcam").checked) body.append("gradcam", "1");
  try {
    const response = await fetch("/predict", { method: "POST", body });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error.message);
    const rows = table.tBodies[0];
    rows.replaceChildren();
    for (const { class: name, probability } of answer.predictions) {
      const row = rows.insertRow();
      row.insertCell().textContent = name;
      row.insertCell().textContent = (probability * 100).toFixed(1) + " %";
    }
    table.hidden = false;
    if (answer.gradcam) {
      map.src = "data:image/png;base64," + answer.gradcam.png_base64;
      map.hidden = false;
    }
    status.textContent = "Most probable: " + answer.top1;
  } catch (error) {
    status.textContent = "Failed: " + error.message;
  }
});
