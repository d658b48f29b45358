//! What a request asks, read from its URL, its body and its headers.
//!
//! A photo comes as multipart field `image`, as the body itself, or in JSON as base64. Options come
//! in the URL, in multipart fields or in JSON; a name that is no option is a field of the patient
//! (`age=55`), and `input.NAME=1,2,3` are numbers for an input. Nothing is ignored: what nobody
//! knows is an error that names it.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::ApiError;
use super::json;
use crate::explain::{Colormap, Method, Overlay};
use crate::predict::ExtraInput;

/// Names that are options; every other one is a field.
pub(super) const OPTIONS: [&str; 7] = [
    "gradcam", "top", "class", "method", "colormap", "alpha", "max_side",
];

/// Long side of a heat map unless asked otherwise, in pixels: what a phone's screen shows.
pub(super) const MAX_SIDE: usize = 1024;

/// Longest side that may be asked for.
const LARGEST_SIDE: usize = 4096;

/// Fields and inputs of one request: far above any patient record.
pub(super) const MAX_FIELDS: usize = 64;

/// Longest text of an option or field.
pub(super) const MAX_TEXT_BYTES: usize = 4096;

/// What is to be classified.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// A photo's file.
    Photo(Bytes),
    /// The model's input itself.
    Tensor(Vec<f32>),
}

/// A heat map that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeatMapAsk {
    pub class: Option<String>,
    pub method: Method,
    pub colormap: Colormap,
    pub alpha: f32,
    pub max_side: usize,
}

impl Default for HeatMapAsk {
    fn default() -> Self {
        Self {
            class: None,
            method: Method::default(),
            colormap: Overlay::default().colormap,
            alpha: Overlay::default().alpha,
            max_side: MAX_SIDE,
        }
    }
}

/// One question to the model.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub subject: Subject,
    pub heat_map: Option<HeatMapAsk>,
    pub fields: Vec<(String, String)>,
    pub inputs: Vec<ExtraInput>,
    /// Whether the answer is computed even if one is kept.
    pub fresh: bool,
    /// Whether an answer without the heat map is of no use.
    pub picture_only: bool,
}

impl Ask {
    /// The options as [`Asked::from_options`] reads them, so that a question can be put elsewhere.
    pub(super) fn options(&self) -> Vec<(String, String)> {
        let mut options = Vec::new();
        let mut add = |name: &str, value: String| options.push((name.to_owned(), value));
        if let Some(map) = &self.heat_map {
            add("gradcam", "1".to_owned());
            add("method", map.method.name().to_owned());
            add("colormap", map.colormap.name().to_owned());
            add("alpha", map.alpha.to_string());
            add("max_side", map.max_side.to_string());
            if let Some(class) = &map.class {
                add("class", class.clone());
            }
        }
        for (name, value) in &self.fields {
            // A field may be called like an option.
            add(&format!("field.{name}"), value.clone());
        }
        for input in &self.inputs {
            let values: Vec<_> = input.values.iter().map(f32::to_string).collect();
            add(&format!("input.{}", input.name), values.join(","));
        }
        options
    }
}

/// Options as they are collected, in any order.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    gradcam: Option<bool>,
    /// Options that mean something with a heat map only, by name.
    details: Vec<&'static str>,
    heat_map: HeatMapAsk,
    pub top: Option<usize>,
    pub fresh: bool,
    fields: Vec<(String, String)>,
    inputs: Vec<ExtraInput>,
}

impl Asked {
    /// Reads what [`Ask::options`] gave.
    pub(super) fn from_options(options: &[(String, String)]) -> Result<Self, ApiError> {
        let mut asked = Self::default();
        for (name, value) in options {
            asked.set(name, value)?;
        }
        Ok(asked)
    }

    /// Reads the URL's query.
    pub(super) fn from_query(query: &str) -> Result<Self, ApiError> {
        let mut asked = Self::default();
        for (name, value) in form_pairs(query) {
            asked.set(&name, &value)?;
        }
        Ok(asked)
    }

    /// Whether the answer should be the picture alone.
    pub(super) fn wants_png(headers: &HeaderMap) -> bool {
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
        let first = accept.and_then(|text| text.split([',', ';']).next());
        first.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("image/png"))
    }

    /// Whether a client wants no answer that was kept (RFC 9111, 5.2.1.4).
    pub(super) fn wants_fresh(headers: &HeaderMap) -> bool {
        let directives = headers.get_all(header::CACHE_CONTROL).into_iter();
        let mut directives = directives.filter_map(|value| value.to_str().ok());
        directives.any(|text| {
            let mut each = text.split(',').map(str::trim);
            each.any(|one| {
                ["no-cache", "no-store"]
                    .iter()
                    .any(|no| one.eq_ignore_ascii_case(no))
            })
        })
    }

    pub(super) fn want_heat_map(&mut self) {
        self.gradcam = Some(true);
    }

    /// Takes one option or field.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), ApiError> {
        let wrong = |expected: &str| {
            let got = crate::text::shorten(value);
            ApiError::bad(
                "bad_option",
                format!("`{name}`: expected {expected}, got `{got}`"),
            )
        };
        let option = OPTIONS.into_iter().find(|&option| option == name);
        if let Some(detail) = option.filter(|&option| !matches!(option, "gradcam" | "top")) {
            self.details.push(detail);
        }
        match option {
            Some("gradcam") => {
                self.gradcam = Some(parse_bool(value).ok_or_else(|| wrong("1 or 0"))?);
            }
            Some("top") => {
                let top = value.parse().ok().filter(|&n: &usize| n > 0);
                self.top = Some(top.ok_or_else(|| wrong("a number from 1"))?);
            }
            Some("class") => self.heat_map.class = Some(value.to_owned()),
            Some("method") => {
                let found = Method::ALL.into_iter().find(|m| m.name() == value);
                let names = Method::ALL.map(Method::name).join(", ");
                self.heat_map.method = found.ok_or_else(|| wrong(&format!("one of {names}")))?;
            }
            Some("colormap") => {
                let all = [Colormap::Jet, Colormap::Turbo, Colormap::Viridis];
                let found = all.into_iter().find(|c| c.name() == value);
                self.heat_map.colormap = found.ok_or_else(|| wrong("jet, turbo or viridis"))?;
            }
            Some("alpha") => {
                let alpha = value.parse().ok().filter(|a| (0.0..=1.0).contains(a));
                self.heat_map.alpha = alpha.ok_or_else(|| wrong("a number from 0 to 1"))?;
            }
            Some("max_side") => {
                let side = value
                    .parse()
                    .ok()
                    .filter(|s| (16..=LARGEST_SIDE).contains(s));
                self.heat_map.max_side =
                    side.ok_or_else(|| wrong(&format!("16 to {LARGEST_SIDE} pixels")))?;
            }
            _ => {
                if self.fields.len() + self.inputs.len() >= MAX_FIELDS {
                    return Err(too_many());
                }
                if let Some(input) = name.strip_prefix("input.") {
                    self.inputs.push(format!("{input}={value}").parse()?);
                } else {
                    let field = name.strip_prefix("field.").unwrap_or(name);
                    self.fields.push((field.to_owned(), value.to_owned()));
                }
            }
        }
        Ok(())
    }

    /// The whole question. `gradcam` says whether this server makes heat maps.
    pub(super) fn finish(self, subject: Subject, gradcam: bool) -> Result<Ask, ApiError> {
        let wanted = self.gradcam.unwrap_or(false);
        if let (false, Some(detail)) = (wanted, self.details.first()) {
            return Err(ApiError::bad(
                "option_without_heat_map",
                format!("`{detail}` does nothing without a heat map"),
            )
            .hint("add `gradcam=1`, or leave it out"));
        }
        if wanted && !gradcam {
            return Err(ApiError::new(
                StatusCode::NOT_IMPLEMENTED,
                "gradcam_disabled",
                "heat maps are switched off on this server",
            )
            .hint("ask without `gradcam=1`"));
        }
        if self.heat_map.class.is_some() && !self.heat_map.method.needs_gradient() {
            let method = self.heat_map.method.name();
            return Err(ApiError::bad(
                "class_without_effect",
                format!("`method={method}` knows no classes, so `class` does nothing"),
            ));
        }
        Ok(Ask {
            subject,
            heat_map: wanted.then_some(self.heat_map),
            fields: self.fields,
            inputs: self.inputs,
            fresh: self.fresh,
            picture_only: false,
        })
    }

    /// Reads a JSON body: the photo as base64 in `image`, options by name, `fields` and `inputs` as
    /// objects. Returns the photo.
    pub(super) fn take_json(&mut self, body: &[u8]) -> Result<Bytes, ApiError> {
        let document = json::read(body)?;
        for (name, value) in document.options {
            self.set(name, &value)?;
        }
        for (name, value) in document.fields {
            self.set(&format!("field.{name}"), &value)?;
        }
        for (name, values) in document.inputs {
            if self.fields.len() + self.inputs.len() >= MAX_FIELDS {
                return Err(too_many());
            }
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                return Err(ApiError::bad(
                    "bad_input_number",
                    format!("input `{name}`: value {} is not finite", at + 1),
                ));
            }
            self.inputs.push(ExtraInput { name, values });
        }
        decode_base64(document.image.as_bytes())
    }
}

pub(super) fn too_many() -> ApiError {
    ApiError::bad(
        "too_many_fields",
        format!("more than {MAX_FIELDS} fields and inputs"),
    )
}

/// Base64, with or without a `data:` URL's head.
pub(super) fn decode_base64(text: &[u8]) -> Result<Bytes, ApiError> {
    let data = if text.starts_with(b"data:") {
        let comma = text.iter().take(200).position(|&b| b == b',');
        comma.map_or(text, |at| &text[at + 1..])
    } else {
        text
    };
    STANDARD.decode(data).map(Bytes::from).map_err(|error| {
        ApiError::bad("bad_base64", format!("`image` is not base64: {error}"))
            .hint("standard alphabet, padded, without line breaks")
    })
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Pairs of `a=b&c=d`, with `%41` and `+` decoded (WHATWG URL, urlencoded parsing).
fn form_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, "1"));
            (unescape(name), unescape(value))
        })
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        match (first, tail) {
            (b'%', [a, b, after @ ..]) if hex(*a).is_some() && hex(*b).is_some() => {
                bytes.push(hex(*a).unwrap_or(0) << 4 | hex(*b).unwrap_or(0));
                rest = after;
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(query: &str) -> Result<Ask, ApiError> {
        Asked::from_query(query)?.finish(Subject::Photo(Bytes::new()), true)
    }

    #[test]
    fn options_and_fields_are_told_apart() {
        let ask = finish("gradcam=1&class=mel&alpha=0.5&age=55&site=head%2Dor+neck&input.v=1,2");
        let ask = ask.unwrap();
        let map = ask.heat_map.unwrap();
        assert_eq!(map.class.as_deref(), Some("mel"));
        assert_eq!((map.alpha, map.max_side), (0.5, 1024));
        assert_eq!(
            ask.fields,
            [
                ("age".to_owned(), "55".to_owned()),
                ("site".to_owned(), "head-or neck".to_owned())
            ]
        );
        assert_eq!(ask.inputs[0].values, [1.0, 2.0]);
        assert!(finish("").unwrap().heat_map.is_none());
        assert!(finish("gradcam").unwrap().heat_map.is_some());
    }

    #[test]
    fn a_question_survives_being_put_elsewhere() {
        for query in [
            "",
            "gradcam=1",
            "gradcam=1&class=mel&alpha=0.1&max_side=77&method=gradcam%2B%2B&colormap=viridis",
            "age=55&site=a%26b%3Dc&field.top=1&field.field.x=2&input.v=0.1,-3e-7,16777217",
        ] {
            let ask = finish(query).unwrap();
            let again = Asked::from_options(&ask.options()).unwrap();
            let again = again.finish(ask.subject.clone(), true).unwrap();
            assert_eq!(again.heat_map, ask.heat_map, "{query}");
            assert_eq!(again.fields, ask.fields, "{query}");
            assert_eq!(again.inputs, ask.inputs, "{query}");
        }
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        for (query, kind) in [
            ("class=mel", "option_without_heat_map"),
            ("gradcam=0&alpha=0.1", "option_without_heat_map"),
            ("gradcam=2", "bad_option"),
            ("top=0", "bad_option"),
            ("gradcam=1&method=magic", "bad_option"),
            ("gradcam=1&alpha=2", "bad_option"),
            ("gradcam=1&max_side=100000", "bad_option"),
            (
                "gradcam=1&method=eigencam&class=mel",
                "class_without_effect",
            ),
            ("input.v=1,x", "bad_input_number"),
        ] {
            assert_eq!(finish(query).unwrap_err().kind, kind, "{query}");
        }
        let many: Vec<String> = (0..65).map(|i| format!("f{i}=1")).collect();
        let many = many.join("&");
        assert_eq!(finish(&many).unwrap_err().kind, "too_many_fields");
        let off = Asked::from_query("gradcam=1").unwrap();
        let off = off.finish(Subject::Photo(Bytes::new()), false).unwrap_err();
        assert_eq!(off.status, StatusCode::NOT_IMPLEMENTED);
    }

    #[test]
    fn json_has_the_same_meaning() {
        let mut asked = Asked::default();
        let body = br#"{"image": "data:image/png;base64,AAEC", "gradcam": true, "top": 3,
            "fields": {"age": 55, "sex": null}, "inputs": {"v": [1, 2.5]}}"#;
        assert_eq!(asked.take_json(body).unwrap().as_ref(), [0, 1, 2]);
        assert_eq!(asked.top, Some(3));
        let ask = asked.finish(Subject::Photo(Bytes::new()), true).unwrap();
        assert!(ask.heat_map.is_some());
        assert_eq!(ask.fields[0], ("age".to_owned(), "55".to_owned()));
        assert_eq!(ask.fields[1], ("sex".to_owned(), String::new()));
        assert_eq!(ask.inputs[0].values, [1.0, 2.5]);
        for (body, kind) in [
            (r#"{"image": "A"}"#, "bad_base64"),
            (r#"{"picture": "AAEC"}"#, "bad_json"),
            (r#"{"image": "AAEC", "age": 5}"#, "unknown_option"),
            (r#"{"image": "AAEC", "top": [1, [2], {}]}"#, "bad_option"),
            (
                r#"{"image": "AAEC", "fields": {"a": {"b": [0]}}}"#,
                "bad_option",
            ),
            (r#"{"image": "AAEC", "image": "AAEC"}"#, "bad_json"),
            (r#"{"image": "AAEC", "inputs": {"v": [1e99]}}"#, "bad_json"),
            (r#"{"image": "AAEC", "inputs": {"v": ["1"]}}"#, "bad_json"),
            (r#"{"fields": {}, "age": 5}"#, "bad_json"),
            ("[", "bad_json"),
        ] {
            let error = Asked::default().take_json(body.as_bytes()).unwrap_err();
            assert_eq!(error.kind, kind, "{body}");
        }
        let list =
            |one: &dyn Fn(usize) -> String, n: usize| (0..n).map(one).collect::<Vec<_>>().join(",");
        let field = |i: usize| format!("\"f{i}\":0");
        let numbers = list(&|_| "0".to_owned(), json::MAX_NUMBERS + 1);
        let long = "a".repeat(MAX_TEXT_BYTES + 1);
        for (member, kind) in [
            (
                format!("\"fields\":{{{}}}", list(&field, 65)),
                "too_many_fields",
            ),
            (
                format!("\"inputs\":{{\"v\":[{numbers}]}}"),
                "too_many_numbers",
            ),
            (
                format!("\"fields\":{{\"age\":\"{long}\"}}"),
                "field_too_long",
            ),
            (format!("\"class\":\"{long}\""), "field_too_long"),
        ] {
            let body = format!("{{\"image\":\"AAEC\",{member}}}");
            let error = Asked::default().take_json(body.as_bytes()).unwrap_err();
            assert_eq!(error.kind, kind);
        }
    }
}
