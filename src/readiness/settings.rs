//! `dermal.yaml`: what a project promises. It is read strictly: an unknown key is an error.

use super::located::{Located, Value};
use super::platforms::{Fact, Platform};
use super::rules;
use crate::hint::{Arguments, Hint, named};
use crate::text::{self, Aliases};

/// Why `dermal.yaml` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct SettingsError {
    /// Its line.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl Hint for SettingsError {
    fn kind(&self) -> &'static str {
        "bad_settings"
    }

    fn hint(&self) -> String {
        "`dermal check --init` in an empty folder writes one with every setting explained"
            .to_owned()
    }

    fn arguments(&self) -> Arguments {
        let Self { line, message } = self;
        named!(line, message)
    }
}

/// A golden answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// The photo, relative to the project.
    pub image: String,
    /// Its class.
    pub class: String,
    /// The least probability of that class that is accepted.
    pub at_least: Option<f64>,
}

/// How the check measures accuracy.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// A folder per class or a table, relative to the project.
    pub photos: String,
    /// Its line.
    pub line: usize,
    /// `COLUMN=VALUE` of the rows that are used.
    pub rows: Vec<String>,
    /// The model that this one replaces.
    pub base: Option<String>,
    /// The largest loss of top-1 that is accepted, in percentage points.
    pub margin_points: f64,
}

/// What a project promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The artifact, and the line.
    pub model: Option<(String, usize)>,
    /// The SHA-256 that the file must have.
    pub sha256: Option<(String, usize)>,
    /// Class names in the order of the outputs.
    pub labels: Option<(Vec<String>, usize)>,
    /// A platform's name.
    pub platform: Option<String>,
    /// The platform's line.
    pub platform_line: Option<usize>,
    /// A host without a profile, as the project describes it.
    pub own_platform: Option<Platform>,
    /// Whether the server draws heat maps.
    pub gradcam: bool,
    /// How many photos the server admits at once.
    pub concurrency: u64,
    /// Pixels of the largest photo.
    pub max_pixels: u64,
    /// Seconds that a photo may take before the check warns.
    pub max_latency_s: f64,
    /// The JSON file of `dermal compare`.
    pub evidence: Option<(String, usize)>,
    /// Labelled photos on which the check judges the model.
    pub trial: Option<Trial>,
    /// The least top-1 accuracy that is accepted.
    pub minimum_top1: Option<(f64, usize)>,
    /// The least sensitivity of each class that is accepted.
    pub sensitivity: Vec<(String, f64, usize)>,
    /// Golden answers.
    pub golden: Vec<Golden>,
    /// Their line.
    pub golden_line: Option<usize>,
    /// Rules that are not applied.
    pub allow: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: None,
            sha256: None,
            labels: None,
            platform: None,
            platform_line: None,
            own_platform: None,
            gradcam: true,
            concurrency: 4,
            max_pixels: 12_000_000,
            max_latency_s: 10.0,
            evidence: None,
            trial: None,
            minimum_top1: None,
            sensitivity: Vec::new(),
            golden: Vec::new(),
            golden_line: None,
            allow: Vec::new(),
        }
    }
}

/// What `dermal check --init` writes.
pub const EXAMPLE: &str = include_str!("dermal.example.yaml");

const KEYS: [&str; 11] = [
    "model",
    "sha256",
    "labels",
    "platform",
    "gradcam",
    "concurrency",
    "max_pixels",
    "max_latency_s",
    "accuracy",
    "golden",
    "allow",
];

impl Settings {
    /// Reads the text of `dermal.yaml`.
    ///
    /// # Errors
    /// [`SettingsError`] for the first key or value that is unknown, has the wrong type, or leads
    /// out of the project.
    pub fn read(text: &str) -> Result<Self, SettingsError> {
        // This file is ours and not a host's, so it needs no aliases.
        let root = text::yaml(text, Aliases::Refuse).map_err(|error| SettingsError {
            line: error.line,
            message: error.message,
        })?;
        let mut settings = Self::default();
        if root.value == Value::Null {
            return Ok(settings);
        }
        for (key, value) in map(&root, "dermal.yaml", &KEYS)? {
            let line = value.line;
            match key.as_str() {
                "model" => settings.model = Some((path(value)?, line)),
                "sha256" => {
                    let hash = text_of(value, key)?;
                    let hex = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
                    if !hex {
                        return Err(wrong(value, key, "64 hexadecimal digits"));
                    }
                    settings.sha256 = Some((hash.to_owned(), line));
                }
                "labels" => {
                    let labels = list(value, key)?
                        .iter()
                        .map(|l| text_of(l, key).map(str::to_owned));
                    settings.labels = Some((labels.collect::<Result<_, _>>()?, line));
                }
                "platform" => {
                    settings.platform_line = Some(line);
                    if matches!(value.value, Value::Map(_)) {
                        settings.own_platform = Some(own_platform(value)?);
                    } else {
                        settings.platform = Some(text_of(value, key)?.to_owned());
                    }
                }
                "gradcam" => {
                    let Value::Bool(on) = value.value else {
                        return Err(wrong(value, key, "true or false"));
                    };
                    settings.gradcam = on;
                }
                "concurrency" => settings.concurrency = whole(value, key, 1024)?,
                "max_pixels" => settings.max_pixels = whole(value, key, 400_000_000)?,
                "max_latency_s" => settings.max_latency_s = number(value, key, 1e6)?,
                "accuracy" => settings.accuracy(value)?,
                "golden" => {
                    settings.golden_line = Some(line);
                    for item in list(value, key)? {
                        settings.golden.push(golden(item)?);
                    }
                }
                _ => settings.allow(value)?,
            }
        }
        Ok(settings)
    }

    fn accuracy(&mut self, value: &Located) -> Result<(), SettingsError> {
        const KEYS: [&str; 7] = [
            "evidence",
            "photos",
            "where",
            "base",
            "margin_points",
            "minimum_top1",
            "sensitivity",
        ];
        let entries = map(value, "accuracy", &KEYS)?;
        self.trial = trial(entries)?;
        for (key, value) in entries {
            match key.as_str() {
                "evidence" if self.trial.is_some() => {
                    return Err(SettingsError {
                        line: value.line,
                        message: "`evidence` and `photos` exclude each other: keep one".to_owned(),
                    });
                }
                "evidence" => self.evidence = Some((path(value)?, value.line)),
                "minimum_top1" => self.minimum_top1 = Some((number(value, key, 1.0)?, value.line)),
                "sensitivity" => {
                    for (class, least) in value.entries() {
                        let number = number(least, class, 1.0)?;
                        self.sensitivity.push((class.clone(), number, least.line));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `rule: reason`.
    fn allow(&mut self, value: &Located) -> Result<(), SettingsError> {
        let ids: Vec<&str> = rules::ALL.iter().map(|rule| rule.id).collect();
        let Value::Map(entries) = &value.value else {
            return Err(wrong(value, "allow", "`rule: reason` lines"));
        };
        for (id, reason) in entries {
            if rules::by_id(id).is_none() {
                let near = text::nearest(id, &ids)
                    .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                return Err(SettingsError {
                    line: reason.line,
                    message: format!("there is no rule `{}`{near}", text::shorten(id)),
                });
            }
            if reason.text().is_none_or(|text| text.trim().is_empty()) {
                return Err(wrong(reason, id, "the reason why it is allowed"));
            }
            self.allow.push(id.clone());
        }
        Ok(())
    }
}

/// The project's own host: what is known about it, in the units of a profile.
fn own_platform(value: &Located) -> Result<Platform, SettingsError> {
    const NEEDED: [&str; 2] = ["ram_mb", "cpu"];
    const KEYS: [&str; 7] = [
        "ram_mb",
        "cpu",
        "disk_mb",
        "request_s",
        "health_s",
        "start_s",
        "grace_s",
    ];
    let entries = map(value, "platform", &KEYS)?;
    let mut facts = Vec::new();
    for (key, value) in entries {
        let value = number(value, key, 1e9)?;
        facts.push((key.as_str(), value));
    }
    let fact = |key| {
        facts
            .iter()
            .find(|(k, _)| *k == key)
            .map(|&(_, value)| value)
    };
    match NEEDED.map(fact) {
        [Some(ram_mb), Some(cpu)] if ram_mb > 0.0 && cpu > 0.0 => {
            let mut platform = Platform::own(ram_mb, cpu);
            let stated = |key| fact(key).map(Fact::stated);
            platform.disk_mb = stated("disk_mb");
            platform.request_s = stated("request_s");
            platform.health_s = stated("health_s");
            platform.start_s = stated("start_s");
            platform.grace_s = stated("grace_s");
            Ok(platform)
        }
        _ => Err(wrong(
            value,
            "platform",
            "a platform's name, or `ram_mb` and `cpu` of a host of your own",
        )),
    }
}

/// The settings that belong to a trial; `None` without photos.
fn trial(entries: Entries<'_>) -> Result<Option<Trial>, SettingsError> {
    let find = |key| entries.iter().find(|(k, _)| k == key).map(|(_, v)| v);
    let Some(photos) = find("photos") else {
        let lonely = ["where", "base", "margin_points"].into_iter();
        let mut lonely = lonely.filter_map(|key| Some((key, find(key)?)));
        return match lonely.next() {
            None => Ok(None),
            Some((key, value)) => Err(SettingsError {
                line: value.line,
                message: format!("`{key}` needs `photos`, which is missing"),
            }),
        };
    };
    let rows = find("where")
        .map(|value| list(value, "where"))
        .transpose()?;
    let rows = rows.unwrap_or_default().iter();
    let rows = rows.map(|row| text_of(row, "where").map(str::to_owned));
    let margin = find("margin_points").map(|value| number(value, "margin_points", 100.0));
    Ok(Some(Trial {
        photos: path(photos)?,
        line: photos.line,
        rows: rows.collect::<Result<_, _>>()?,
        base: find("base").map(path).transpose()?,
        margin_points: margin.transpose()?.unwrap_or(1.0),
    }))
}

fn golden(item: &Located) -> Result<Golden, SettingsError> {
    let mut golden = Golden {
        image: String::new(),
        class: String::new(),
        at_least: None,
    };
    for (key, value) in map(item, "golden", &["image", "class", "at_least"])? {
        match key.as_str() {
            "image" => golden.image = path(value)?,
            "class" => text_of(value, key)?.clone_into(&mut golden.class),
            _ => golden.at_least = Some(number(value, key, 1.0)?),
        }
    }
    if golden.image.is_empty() || golden.class.is_empty() {
        return Err(wrong(item, "golden", "`image` and `class`"));
    }
    Ok(golden)
}

type Entries<'a> = &'a [(String, Located)];

fn map<'a>(value: &'a Located, of: &str, keys: &[&str]) -> Result<Entries<'a>, SettingsError> {
    let Value::Map(entries) = &value.value else {
        return Err(wrong(value, of, "a map"));
    };
    match entries
        .iter()
        .find(|(key, _)| !keys.contains(&key.as_str()))
    {
        None => Ok(entries),
        Some((key, value)) => Err(SettingsError {
            line: value.line,
            message: format!(
                "`{of}` has no setting `{}`; {}",
                text::shorten(key),
                text::suggest(key, keys)
            ),
        }),
    }
}

fn wrong(value: &Located, key: &str, expected: &str) -> SettingsError {
    SettingsError {
        line: value.line,
        message: format!("`{}`: expected {expected}", text::shorten(key)),
    }
}

fn text_of<'a>(value: &'a Located, key: &str) -> Result<&'a str, SettingsError> {
    value.text().ok_or_else(|| wrong(value, key, "text"))
}

fn list<'a>(value: &'a Located, key: &str) -> Result<&'a [Located], SettingsError> {
    match &value.value {
        Value::List(items) => Ok(items),
        _ => Err(wrong(value, key, "a list")),
    }
}

fn number(value: &Located, key: &str, most: f64) -> Result<f64, SettingsError> {
    let number = value.number().filter(|n| (0.0..=most).contains(n));
    number.ok_or_else(|| wrong(value, key, &format!("a number from 0 to {most}")))
}

fn whole(value: &Located, key: &str, most: u64) -> Result<u64, SettingsError> {
    let fits = |n: &f64| n.fract() == 0.0 && *n >= 1.0 && *n <= most as f64;
    let number = value.number().filter(fits);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between 1 and `most`"
    )]
    number
        .map(|n| n as u64)
        .ok_or_else(|| wrong(value, key, &format!("a whole number from 1 to {most}")))
}

/// A path inside the project, without `.` at its start.
fn path(value: &Located) -> Result<String, SettingsError> {
    let text = text_of(value, "path")?.trim_start_matches("./");
    let outside = text.is_empty()
        || text.starts_with(['/', '\\', '~'])
        || text.contains('\0')
        || text.get(1..2) == Some(":")
        || text.split(['/', '\\']).any(|part| part == "..");
    if outside {
        return Err(SettingsError {
            line: value.line,
            message: format!("`{}` leads out of the project", text::shorten(text)),
        });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_reads_and_says_the_defaults() {
        let settings = Settings::read(EXAMPLE).unwrap();
        assert_eq!(settings.model.as_ref().unwrap().0, "model.safetensors");
        let defaults = Settings::default();
        assert_eq!(settings.concurrency, defaults.concurrency);
        assert_eq!(settings.max_pixels, defaults.max_pixels);
        assert_eq!(settings.max_latency_s, defaults.max_latency_s);
        assert_eq!(settings.gradcam, defaults.gradcam);
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        for (text, says) in [
            (
                "accuracy: {photos: p, evidence: e.json}",
                "`evidence` and `photos`",
            ),
            ("accuracy: {base: p}", "`base` needs `photos`"),
            ("accuracy: {photos: ../p}", "leads out of the project"),
            (
                "model: a\nmodell: b",
                "line 2: `dermal.yaml` has no setting `modell`; did you mean `model`?",
            ),
            ("model: ../a", "line 1: `../a` leads out of the project"),
            ("model: /etc/passwd", "leads out of the project"),
            ("golden:\n  - image: a/../../b\n    class: x", "line 2"),
            ("concurrency: 0", "a whole number from 1 to 1024"),
            ("gradcam: maybe", "true or false"),
            ("sha256: abc", "64 hexadecimal digits"),
            ("allow:\n  debug-flg: why", "did you mean `debug-flag`?"),
            ("allow:\n  debug-flag: ''", "the reason"),
            ("accuracy: {minimum_top1: 80}", "from 0 to 1"),
            ("platform: {ram_mb: 512}", "`ram_mb` and `cpu`"),
            ("platform: {ram_mb: 512, cpu: 0}", "`ram_mb` and `cpu`"),
            (
                "platform: {ram_mb: many, cpu: 1}",
                "`ram_mb`: expected a number",
            ),
            (
                "platform: {ram: 512, cpu: 1}",
                "has no setting `ram`; known: ram_mb, cpu",
            ),
            ("[]", "a map"),
            ("a: &a 1", "line 1: an anchor"),
            ("model: &a [*a]", "line 1: an anchor"),
        ] {
            let error = Settings::read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert_eq!(Settings::read("").unwrap(), Settings::default());
        let own = Settings::read("platform: {ram_mb: 700, cpu: 0.5, start_s: 9}").unwrap();
        let own = own.own_platform.unwrap();
        assert_eq!((own.ram_bytes(), own.cpu.value), (700_000_000, 0.5));
        assert_eq!((own.start_s.unwrap().value, own.request_s), (9.0, None));
    }
}
