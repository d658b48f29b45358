//! How much memory a server with a model will use, computed from facts. No file is read and nothing
//! is run.
//!
//! In: facts about the model, the photos, the process and the load ([`Facts`]). Out: for each
//! [`Moment`] a list of named [`Term`]s, in bytes. Arena and scratch come from the engine's own plan,
//! so they are exact. What cannot be computed (how many pages of the program are touched, how much
//! freed memory the allocator keeps) was measured, and is in [`Calibration`].
//!
//! An estimate is never a measurement: `measure` and `sandbox` give those, in types of their own.

use serde::Serialize;

/// Whether the kernel can take memory back while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backing {
    /// It must fit: without swap the kernel cannot take it back.
    Anonymous,
    /// Pages of files: the kernel drops them when memory is short, and reads them again when they
    /// are needed.
    Reclaimable,
    /// The kernel's own memory for this process (page tables, stacks). It counts against a cgroup's
    /// limit, but not as resident.
    Kernel,
}

/// Memory that is used for one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Term {
    /// The purpose.
    pub name: &'static str,
    /// Whether the kernel can take it back.
    pub backing: Backing,
    /// How much.
    pub bytes: u64,
}

/// What the server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Started, without a model.
    Idle,
    /// The model is loaded and has answered its self-test.
    Loaded,
    /// One photo.
    Predicting,
    /// One photo, with a heat map.
    PredictingGradcam,
    /// As many photos as are admitted at once, in the step that takes most.
    AtOnce,
}

impl Moment {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Loaded => "loaded",
            Self::Predicting => "predicting",
            Self::PredictingGradcam => "predicting with Grad-CAM",
            Self::AtOnce => "at once",
        }
    }
}

/// A moment, and the memory that is used then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// What the server is doing.
    pub moment: Moment,
    /// Photos in work.
    pub photos: u64,
    /// Whether heat maps are drawn.
    pub gradcam: bool,
    /// What the memory is used for, largest first.
    pub terms: Vec<Term>,
}

impl State {
    fn new(moment: Moment, photos: u64, gradcam: bool, mut terms: Vec<Term>) -> Self {
        terms.retain(|term| term.bytes > 0);
        terms.sort_by_key(|term| std::cmp::Reverse(term.bytes));
        Self {
            moment,
            photos,
            gradcam,
            terms,
        }
    }

    fn sum(&self, wanted: &[Backing]) -> u64 {
        let terms = self
            .terms
            .iter()
            .filter(|term| wanted.contains(&term.backing));
        terms.fold(0, |sum, term| sum.saturating_add(term.bytes))
    }

    /// Resident memory as the kernel counts it for a process (`VmRSS`).
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.sum(&[Backing::Anonymous, Backing::Reclaimable])
    }

    /// The part of the resident memory that the kernel cannot take back (`RssAnon`).
    #[must_use]
    pub fn anonymous_bytes(&self) -> u64 {
        self.sum(&[Backing::Anonymous])
    }

    /// The least limit under which it runs: anonymous memory and the kernel's own.
    #[must_use]
    pub fn unreclaimable_bytes(&self) -> u64 {
        self.sum(&[Backing::Anonymous, Backing::Kernel])
    }

    /// The least limit under which no page of a file has to be dropped and read again.
    #[must_use]
    pub fn charged_bytes(&self) -> u64 {
        self.sum(&[Backing::Anonymous, Backing::Reclaimable, Backing::Kernel])
    }
}

/// A model's memory, from its artifact and the engine's plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelFacts {
    /// Bytes of the artifact that are mapped; 0 for a model inside the program.
    pub mapped_bytes: u64,
    /// Nodes of the graph.
    pub nodes: u64,
    /// Names, shapes, layers and prepared kernels: the memory that loading the model added, without
    /// arena, scratch and weights.
    pub description_bytes: u64,
    /// The engine's arena.
    pub arena_bytes: u64,
    /// The arena if the feature map for heat maps is kept.
    pub arena_gradcam_bytes: u64,
    /// Scratch memory of one thread of the engine.
    pub scratch_bytes: u64,
    /// The feature map that heat maps are computed from, as f32.
    pub feature_map_bytes: u64,
    /// Weights of the layers after that feature map, as f32.
    pub head_weight_bytes: u64,
    /// Whether heat maps need candle, since their gradient has no closed form.
    pub head_on_candle: bool,
    /// Floats of the photo's input.
    pub input_len: u64,
    /// Whether the artifact has a self-test, which runs the model once when it is loaded.
    pub self_test: bool,
}

/// A photo's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PhotoFacts {
    /// Columns.
    pub width: u64,
    /// Rows.
    pub height: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Whether it is a progressive JPEG, whose coefficients are all held beside the pixels.
    pub progressive: bool,
    /// Bytes of the PNG of its overlay.
    pub picture_bytes: u64,
}

impl PhotoFacts {
    /// Bytes of a file for each pixel: JPEG of quality 85 at 4:2:0. The median of phones' photos of
    /// 8 to 12 megapixels is 0.25 to 0.4.
    pub const FILE_BYTES_PER_PIXEL: f64 = 0.35;

    /// Bytes of an overlay's PNG for each of its pixels, on a photo of skin. Used if no overlay was
    /// drawn and measured.
    pub const PICTURE_BYTES_PER_PIXEL: f64 = 1.5;

    /// A photo of at least this many pixels, 4:3, with as many bytes as a phone's.
    #[must_use]
    pub fn of_pixels(pixels: u64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "sides and file sizes of photos"
        )]
        let (width, file_bytes) = (
            ((pixels as f64 * 4.0 / 3.0).sqrt().ceil() as u64).max(1),
            (pixels as f64 * Self::FILE_BYTES_PER_PIXEL) as u64,
        );
        let mut photo = Self {
            width,
            height: pixels.div_ceil(width).max(1),
            file_bytes,
            progressive: false,
            picture_bytes: 0,
        };
        photo.set_picture_bytes_per_pixel(Self::PICTURE_BYTES_PER_PIXEL);
        photo
    }

    /// A photo of another size whose overlay compresses as well as this one's.
    #[must_use]
    pub fn with_pixels(&self, pixels: u64) -> Self {
        let mut photo = Self::of_pixels(pixels);
        let overlay = self.overlay_bytes().max(1) as f64 / 3.0;
        photo.set_picture_bytes_per_pixel(self.picture_bytes as f64 / overlay);
        photo
    }

    /// Sets the size of the overlay's PNG, from bytes for each of its pixels.
    pub fn set_picture_bytes_per_pixel(&mut self, bytes: f64) {
        let picture = self.overlay_bytes() as f64 / 3.0 * bytes;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive size; a huge one saturates"
        )]
        let picture = picture as u64;
        self.picture_bytes = picture;
    }

    /// Pixels.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        self.width.saturating_mul(self.height)
    }

    /// Bytes of the decoded photo: RGB.
    #[must_use]
    pub fn decoded_bytes(&self) -> u64 {
        self.pixels().saturating_mul(3)
    }

    /// What the decoder holds beside the pixels. For a progressive file: two bytes for each
    /// coefficient, of which there are one and a half a pixel at 4:2:0. For any other: two strips of
    /// rows.
    #[must_use]
    pub fn decoder_bytes(&self) -> u64 {
        if self.progressive {
            self.pixels().saturating_mul(3)
        } else {
            self.width.saturating_mul(2 * 16 * 3)
        }
    }

    /// Bytes of the overlay's pixels: RGB, at most [`OVERLAY_SIDE`] on the long side.
    #[must_use]
    pub fn overlay_bytes(&self) -> u64 {
        let long = self.width.max(self.height).max(1);
        let scaled = |n: u64| n.min(u64::MAX / OVERLAY_SIDE) * OVERLAY_SIDE / long;
        let (w, h) = if long > OVERLAY_SIDE {
            (scaled(self.width), scaled(self.height))
        } else {
            (self.width, self.height)
        };
        w.saturating_mul(h).saturating_mul(3)
    }
}

/// Longest side of the overlay that a server sends, in pixels.
pub const OVERLAY_SIDE: u64 = 1024;

/// What was measured because it cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Calibration {
    /// Pages of the program and its libraries that are resident after the start.
    pub program_idle_bytes: u64,
    /// The same after a model has answered, without the model's own pages.
    pub program_loaded_bytes: u64,
    /// Pages that a waiting server adds (runtime, HTTP, log), in percent of `program_idle_bytes`:
    /// builds differ in how densely code lies.
    pub server_idle_percent: u64,
    /// The same once it has a model, in percent of `program_loaded_bytes`.
    pub server_percent: u64,
    /// Pages of the program that decoding and resizing photos adds.
    pub program_predicting_bytes: u64,
    /// Pages of the program that drawing heat maps adds: the gradient and the PNG encoder.
    pub program_gradcam_bytes: u64,
    /// Pages of the program that a gradient on candle adds to these.
    pub program_candle_bytes: u64,
    /// Anonymous memory at the start: relocated data, the heap's first pages, the main stack.
    pub heap_idle_bytes: u64,
    /// A copy of a node's description, which heat maps need.
    pub node_gradcam_bytes: u64,
    /// The HTTP server without the model: its runtime, its threads' stacks, sockets.
    pub server_bytes: u64,
    /// Memory while a model is being loaded: its file is hashed, its description held twice.
    pub loading_bytes: u64,
    /// A connection with a request: its task and buffers.
    pub connection_bytes: u64,
    /// A thread of the engine that has run: its stack, and the allocator's arena for it.
    pub thread_bytes: u64,
    /// Writing an overlay as PNG, in percent of its pixels' bytes: the pixels and the PNG.
    pub overlay_percent: u64,
    /// Computing a gradient on candle, in percent of the head's weights as f32: the weights, their
    /// gradients, and what the allocator keeps of them.
    pub head_percent: u64,
    /// The same in closed form, which only reads the weights.
    pub head_closed_percent: u64,
    /// The rest of a heat map: the map, its colours, small tensors.
    pub gradcam_bytes: u64,
}

impl Calibration {
    /// With the resident pages of files that this very process had after its start and after it ran
    /// a model: they depend on the build and on the file system. If they cannot be read, those of a
    /// usual build are taken.
    #[must_use]
    pub fn with_program(idle_bytes: Option<u64>, loaded_bytes: Option<u64>) -> Self {
        let usual = CALIBRATION;
        Self {
            program_idle_bytes: idle_bytes.unwrap_or(usual.program_idle_bytes),
            program_loaded_bytes: loaded_bytes.unwrap_or(usual.program_loaded_bytes),
            ..usual
        }
    }
}

/// Measured with `dermal estimate --prove` over 17 models (docs/estimating.md), on x86-64, Linux
/// 6.18, glibc 2.36, 4 KiB pages.
const CALIBRATION: Calibration = Calibration {
    program_idle_bytes: 6_000_000,
    program_loaded_bytes: 9_000_000,
    server_idle_percent: 30,
    server_percent: 25,
    program_predicting_bytes: 700_000,
    program_gradcam_bytes: 300_000,
    program_candle_bytes: 1_200_000,
    heap_idle_bytes: 690_000,
    node_gradcam_bytes: 1_200,
    server_bytes: 350_000,
    loading_bytes: 400_000,
    connection_bytes: 40_000,
    thread_bytes: 40_000,
    overlay_percent: 165,
    head_percent: 270,
    head_closed_percent: 100,
    gradcam_bytes: 400_000,
};

/// The work that the server gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Photos that are admitted at once.
    pub photos_at_once: u64,
    /// Threads that share one photo's inference.
    pub threads: u64,
    /// Whether heat maps may be asked for.
    pub gradcam: bool,
    /// Bytes of answers that the server keeps for photos that come again.
    pub cache_bytes: u64,
}

/// Everything that an estimate is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The model.
    pub model: ModelFacts,
    /// The largest photo that is admitted.
    pub photo: PhotoFacts,
    /// The load.
    pub load: Load,
    /// What was measured because it cannot be computed.
    pub calibration: Calibration,
}

/// The memory of each moment, in the order in which a server comes to them. Without heat maps their
/// moments are left out.
#[must_use]
pub fn estimate(facts: &Facts) -> Vec<State> {
    let load = facts.load;
    let mut states = vec![
        facts.state(Moment::Idle, 0, false),
        facts.state(Moment::Loaded, 0, false),
        facts.state(Moment::Predicting, 1, false),
    ];
    if load.gradcam {
        states.push(facts.state(Moment::PredictingGradcam, 1, true));
    }
    if load.photos_at_once > 1 {
        states.push(facts.state(Moment::AtOnce, load.photos_at_once, load.gradcam));
    }
    states
}

/// The state that takes most memory.
///
/// # Panics
/// If there are no states; [`estimate`] gives at least three.
#[must_use]
pub fn worst(states: &[State]) -> &State {
    let worst = states.iter().max_by_key(|state| state.charged_bytes());
    worst.expect("an estimate has states")
}

impl Facts {
    fn state(&self, moment: Moment, photos: u64, gradcam: bool) -> State {
        let mut terms = self.process(moment, gradcam);
        if moment != Moment::Idle {
            terms.extend(self.model(moment));
        }
        if photos > 0 {
            terms.extend(self.photos(photos, gradcam));
            terms.extend(self.worst_step(photos, gradcam));
        }
        terms.push(self.kernel(&terms, photos));
        State::new(moment, photos, gradcam, terms)
    }

    fn process(&self, moment: Moment, gradcam: bool) -> Vec<Term> {
        let c = &self.calibration;
        let mut program = match moment {
            Moment::Idle => percent(c.program_idle_bytes, 100 + c.server_idle_percent),
            _ => percent(c.program_loaded_bytes, 100 + c.server_percent),
        };
        if !matches!(moment, Moment::Idle | Moment::Loaded) {
            program += c.program_predicting_bytes;
        }
        if gradcam {
            program += c.program_gradcam_bytes;
            if self.model.head_on_candle {
                program += c.program_candle_bytes;
            }
        }
        vec![
            reclaimable("program text", program),
            anonymous("process", c.heap_idle_bytes),
            anonymous("server baseline", c.server_bytes),
        ]
    }

    /// The arena is zeroed when it is made, so it is resident at once. Weights are read when the model
    /// first runs: in its self-test, or for the first photo.
    fn model(&self, moment: Moment) -> Vec<Term> {
        let (model, load) = (&self.model, &self.load);
        let has_run = moment != Moment::Loaded || model.self_test;
        let once_run = |bytes: u64| if has_run { bytes } else { 0 };
        let arena = if load.gradcam {
            model.arena_gradcam_bytes
        } else {
            model.arena_bytes
        };
        let helpers = load.threads.saturating_sub(1);
        let c = &self.calibration;
        let copies = if load.gradcam {
            c.node_gradcam_bytes
        } else {
            0
        };
        let copied = model.nodes.saturating_mul(copies);
        vec![
            reclaimable("mapped weights", once_run(model.mapped_bytes)),
            anonymous(
                "model description",
                model.description_bytes.saturating_add(copied),
            ),
            anonymous("arena", arena),
            anonymous(
                "scratch",
                once_run(model.scratch_bytes.saturating_mul(load.threads)),
            ),
            anonymous(
                "loading",
                if moment == Moment::Loaded {
                    c.loading_bytes
                } else {
                    0
                },
            ),
            anonymous("engine threads", helpers.saturating_mul(c.thread_bytes)),
        ]
    }

    /// Terms of every step while photos are in work.
    fn photos(&self, photos: u64, gradcam: bool) -> Vec<Term> {
        let connections = self.calibration.connection_bytes.saturating_mul(photos);
        let mut terms = vec![anonymous("connections", connections)];
        if gradcam {
            terms.push(anonymous("answers kept", self.kept_bytes()));
        }
        terms
    }

    /// Bytes of the answers with pictures that fit into the cache.
    fn kept_bytes(&self) -> u64 {
        let each = self.answer_bytes();
        self.load.cache_bytes / each * each
    }

    /// Bytes of an answer with its picture, as the cache counts them.
    fn answer_bytes(&self) -> u64 {
        self.photo.picture_bytes.saturating_add(ANSWER_BYTES)
    }

    /// How many times a proof sends a state's photos. After that the cache is full, so the state's
    /// memory no longer grows.
    #[must_use]
    pub fn rounds(&self, state: &State) -> u64 {
        let answers = self.load.cache_bytes / self.answer_bytes() + 1;
        if state.gradcam {
            answers.div_ceil(state.photos.max(1)).clamp(2, MOST_ROUNDS)
        } else {
            2
        }
    }

    /// The step that takes most while `photos` are in work. There is one engine, so one photo is
    /// decoded at a time, and one heat map drawn; the others wait as files. A file is freed when its
    /// photo is decoded, and the decoded photo when the pixels of its overlay have been copied.
    fn worst_step(&self, photos: u64, gradcam: bool) -> Vec<Term> {
        let mut steps = vec![self.decoding(photos, 0)];
        if gradcam {
            let others = photos.saturating_sub(1);
            if others > 0 {
                // The previous answer is still being sent: its base64 is encoded on the way.
                steps.push(self.decoding(others, self.photo.picture_bytes));
            }
            steps.extend(self.drawing(others));
        }
        let bytes = |step: &Vec<Term>| {
            step.iter()
                .fold(0, |sum: u64, t| sum.saturating_add(t.bytes))
        };
        steps.into_iter().max_by_key(bytes).unwrap_or_default()
    }

    fn files(&self, count: u64) -> Term {
        anonymous(
            "uploaded files",
            self.photo.file_bytes.saturating_mul(count),
        )
    }

    fn decoding(&self, files: u64, answer_bytes: u64) -> Vec<Term> {
        vec![
            self.files(files),
            anonymous("answer on its way", answer_bytes),
            anonymous("decoded photo", self.photo.decoded_bytes()),
            anonymous("decoder", self.photo.decoder_bytes()),
        ]
    }

    /// Two steps. First the overlay's pixels are copied from the decoded photo, unless the photo is
    /// small enough to be the overlay itself. Then the photo is freed, and the overlay becomes a PNG.
    fn drawing(&self, files: u64) -> [Vec<Term>; 2] {
        let (photo, c) = (&self.photo, &self.calibration);
        let overlay = photo.overlay_bytes();
        let picture = |bytes: u64| anonymous("overlay picture", bytes);
        let (name, share) = if self.model.head_on_candle {
            ("heat map (candle head)", c.head_percent)
        } else {
            ("heat map (head in closed form)", c.head_closed_percent)
        };
        let head = anonymous(name, percent(self.model.head_weight_bytes, share));
        let copied = if overlay < photo.decoded_bytes() {
            overlay
        } else {
            0
        };
        let taken = copied.saturating_add(c.gradcam_bytes);
        [
            vec![
                self.files(files),
                anonymous("decoded photo", photo.decoded_bytes()),
                picture(taken),
                head.clone(),
            ],
            vec![
                self.files(files),
                picture(percent(overlay, c.overlay_percent)),
                head,
            ],
        ]
    }

    /// A page table entry (8 bytes) for each page of 4096 bytes, and a kernel stack for each thread
    /// (`THREAD_SIZE`, 16 KiB on x86-64).
    fn kernel(&self, terms: &[Term], photos: u64) -> Term {
        const STACK: u64 = 16 << 10;
        let resident = terms
            .iter()
            .fold(0u64, |sum, t| sum.saturating_add(t.bytes));
        let threads = photos.saturating_add(self.load.threads);
        Term {
            name: "page tables, kernel stacks",
            backing: Backing::Kernel,
            bytes: (resident / 512)
                .saturating_add(threads.saturating_mul(STACK))
                .saturating_add(KERNEL_BASE_BYTES),
        }
    }
}

fn percent(bytes: u64, percent: u64) -> u64 {
    bytes.saturating_mul(percent) / 100
}

/// Bytes that the server's cache counts for an answer without its picture.
const ANSWER_BYTES: u64 = 2048;

/// A proof sends a state's photos at most this many times, however large the cache is.
const MOST_ROUNDS: u64 = 8;

/// The kernel's memory for any process in a cgroup: its descriptor, files, upper page tables.
const KERNEL_BASE_BYTES: u64 = 300_000;

fn anonymous(name: &'static str, bytes: u64) -> Term {
    Term {
        name,
        backing: Backing::Anonymous,
        bytes,
    }
}

fn reclaimable(name: &'static str, bytes: u64) -> Term {
    Term {
        name,
        backing: Backing::Reclaimable,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            model: ModelFacts {
                mapped_bytes: 20_000_000,
                nodes: 100,
                description_bytes: 300_000,
                arena_bytes: 5_000_000,
                arena_gradcam_bytes: 6_000_000,
                scratch_bytes: 1_000,
                feature_map_bytes: 500_000,
                head_weight_bytes: 100_000,
                head_on_candle: true,
                input_len: 150_528,
                self_test: true,
            },
            photo: PhotoFacts {
                width: 4000,
                height: 3000,
                file_bytes: 2_000_000,
                progressive: false,
                picture_bytes: 900_000,
            },
            load: Load {
                photos_at_once: 4,
                threads: 2,
                gradcam: false,
                cache_bytes: 4_000_000,
            },
            calibration: Calibration::with_program(Some(5_000_000), Some(8_000_000)),
        }
    }

    fn bytes_of(state: &State, name: &str) -> u64 {
        let term = state.terms.iter().find(|term| term.name == name);
        term.map_or(0, |term| term.bytes)
    }

    #[test]
    fn every_term_is_the_arithmetic_it_says() {
        let states = estimate(&facts());
        let moments: Vec<Moment> = states.iter().map(|state| state.moment).collect();
        assert_eq!(
            moments,
            [
                Moment::Idle,
                Moment::Loaded,
                Moment::Predicting,
                Moment::AtOnce
            ]
        );
        assert_eq!(states[0].resident_bytes(), 6_500_000 + 690_000 + 350_000);
        let at_once = &states[3];
        for (name, bytes) in [
            ("mapped weights", 20_000_000),
            ("arena", 5_000_000),
            ("scratch", 2_000),
            ("model description", 300_000),
            ("decoded photo", 36_000_000),
            ("uploaded files", 4 * 2_000_000),
            ("decoder", 4000 * 96),
            ("program text", 10_000_000 + 700_000),
            ("overlay picture", 0),
            ("answers kept", 0),
        ] {
            assert_eq!(bytes_of(at_once, name), bytes, "{name}");
        }
        let sum: u64 = at_once.terms.iter().map(|term| term.bytes).sum();
        assert_eq!(at_once.charged_bytes(), sum);
        assert_eq!(
            at_once.resident_bytes() - at_once.anonymous_bytes(),
            20_000_000 + 10_700_000
        );
        assert_eq!(worst(&states).moment, Moment::AtOnce);
        // Without a self-test the weights have not been read yet.
        assert_eq!(bytes_of(&states[1], "mapped weights"), 20_000_000);
        let mut untested = facts();
        untested.model.self_test = false;
        let states = estimate(&untested);
        assert_eq!(bytes_of(&states[1], "mapped weights"), 0);
        assert_eq!(bytes_of(&states[2], "mapped weights"), 20_000_000);
    }

    #[test]
    fn the_worst_step_of_a_heat_map_is_taken() {
        let mut facts = facts();
        facts.load.gradcam = true;
        let states = estimate(&facts);
        let one = &states[3];
        assert_eq!(one.moment, Moment::PredictingGradcam);
        assert_eq!(bytes_of(one, "arena"), 6_000_000);
        assert_eq!(bytes_of(one, "decoded photo"), 36_000_000);
        assert_eq!(bytes_of(one, "heat map (candle head)"), 270_000);
        // The overlay is copied while the photo is decoded; its file is freed by then.
        let pixels = 1024 * 768 * 3;
        assert_eq!(bytes_of(one, "overlay picture"), pixels + 400_000);
        assert_eq!(bytes_of(one, "uploaded files"), 0);
        // As many whole answers as fit into 4 MB.
        assert_eq!(bytes_of(one, "answers kept"), 4 * (900_000 + 2048));
        // While the first of four is drawn, three wait.
        assert_eq!(bytes_of(&states[4], "uploaded files"), 6_000_000);
        assert_eq!(bytes_of(&states[4], "overlay picture"), pixels + 400_000);
        // Large files take more than the overlay: most is used before the last one is decoded.
        facts.photo.file_bytes = 6_000_000;
        let large = &estimate(&facts)[4];
        assert_eq!(bytes_of(large, "uploaded files"), 24_000_000);
        assert_eq!(bytes_of(large, "overlay picture"), 0);
        // Small files take less than the previous answer, which is still being sent.
        facts.photo.file_bytes = 1_000;
        facts.photo.picture_bytes = 3_500_000;
        let small = &estimate(&facts)[4];
        assert_eq!(bytes_of(small, "answer on its way"), 3_500_000);
        assert_eq!(bytes_of(small, "uploaded files"), 3_000);
        // For a photo as large as its overlay, writing the PNG takes more than decoding.
        facts.photo = PhotoFacts::of_pixels(1024 * 768);
        let small = &estimate(&facts)[3];
        assert_eq!(bytes_of(small, "decoded photo"), 0);
        assert_eq!(bytes_of(small, "overlay picture"), pixels * 165 / 100);
    }

    #[test]
    fn a_state_is_repeated_until_the_cache_is_full() {
        let mut facts = facts();
        facts.load.gradcam = true;
        let states = estimate(&facts);
        let rounds: Vec<u64> = states.iter().map(|state| facts.rounds(state)).collect();
        assert_eq!(rounds[2..], [2, 5, 2]);
        facts.load.cache_bytes = 0;
        assert_eq!(facts.rounds(&states[3]), 2);
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let mut facts = facts();
        facts.photo = PhotoFacts::of_pixels(u64::MAX);
        facts.model.mapped_bytes = u64::MAX;
        facts.load.photos_at_once = u64::MAX;
        facts.load.gradcam = true;
        assert_eq!(worst(&estimate(&facts)).charged_bytes(), u64::MAX);
    }

    #[test]
    fn a_photo_of_so_many_pixels_is_as_phones_make_them() {
        let photo = PhotoFacts::of_pixels(12_000_000);
        assert_eq!((photo.width, photo.height), (4000, 3000));
        assert_eq!(PhotoFacts::of_pixels(1).pixels(), 2);
        assert_eq!(photo.overlay_bytes(), 1024 * 768 * 3);
    }
}
