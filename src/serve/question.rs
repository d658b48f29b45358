//! A question to the model, and the options that make it up.
//!
//! Options come from the URL, multipart fields or JSON, in any order; [`QuestionBuilder`] collects
//! them. A name that is not an option is a field of the patient (`age=55`), and `input.NAME=1,2,3` are
//! numbers for an input of the model. Nothing is ignored: an unknown name becomes an error that names
//! it.
//!
//! Not here: reading a body (`routes`).

use std::borrow::Cow;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};

use super::error::{ApiError, short};
use crate::explain::{Colormap, Method, Overlay};
use crate::predict::ExtraInput;

/// Names of options. Every other name is a field.
pub(super) const OPTIONS: [&str; 7] = [
    "gradcam", "top", "class", "method", "colormap", "alpha", "max_side",
];

/// Long side of a heat map if the client does not say, in pixels: what a phone's screen shows.
pub(super) const DEFAULT_MAX_SIDE: usize = 1024;

/// Longest side that a client may ask for.
const LARGEST_SIDE: usize = 4096;

/// Most fields and inputs of one request: far more than a patient record has.
pub(super) const MAX_FIELDS: usize = 64;

/// Longest name of an option, field or input.
const MAX_NAME_BYTES: usize = 256;

/// Longest text of an option or field.
pub(super) const MAX_TEXT_BYTES: usize = 4096;

/// What the model classifies.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// The bytes of a photo file.
    Photo(Bytes),
    /// The values of the model's input, already prepared.
    Tensor(Vec<f32>),
}

/// Which heat map a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeatMapRequest {
    pub class: Option<String>,
    pub method: Method,
    pub colormap: Colormap,
    pub alpha: f32,
    pub max_side: usize,
}

impl Default for HeatMapRequest {
    fn default() -> Self {
        Self {
            class: None,
            method: Method::default(),
            colormap: Overlay::default().colormap,
            alpha: Overlay::default().alpha,
            max_side: DEFAULT_MAX_SIDE,
        }
    }
}

/// One question to the model.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub subject: Subject,
    pub heat_map: Option<HeatMapRequest>,
    pub fields: Vec<(String, String)>,
    pub inputs: Vec<ExtraInput>,
    /// Whether the answer is computed even if the cache has it.
    pub fresh: bool,
    /// Whether the client wants the heat map alone, so that an answer without it is useless.
    pub heat_map_only: bool,
}

impl Question {
    /// The options in the form that [`QuestionBuilder::from_options`] reads, so that another process
    /// can ask the same question.
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
            // A field may have the name of an option.
            add(&format!("field.{name}"), value.clone());
        }
        for input in &self.inputs {
            let values: Vec<_> = input.values.iter().map(f32::to_string).collect();
            add(&format!("input.{}", input.name), values.join(","));
        }
        options
    }
}

/// Collects options, in any order, into a [`Question`].
#[derive(Clone, Debug, Default)]
pub(super) struct QuestionBuilder {
    gradcam: Option<bool>,
    /// Names of the given options that only make sense with a heat map.
    heat_map_options: Vec<&'static str>,
    heat_map: HeatMapRequest,
    pub top: Option<usize>,
    pub fresh: bool,
    fields: Vec<(String, String)>,
    inputs: Vec<ExtraInput>,
}

impl QuestionBuilder {
    /// Reads the options that [`Question::options`] wrote.
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
        for (name, value) in query_pairs(query) {
            asked.set(&name, &value)?;
        }
        Ok(asked)
    }

    /// Whether the client wants the heat map alone (`Accept: image/png`).
    pub(super) fn wants_png(headers: &HeaderMap) -> bool {
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
        let first = accept.and_then(|text| text.split([',', ';']).next());
        first.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("image/png"))
    }

    /// Whether the client refuses a cached answer (RFC 9111, 5.2.1.4).
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
        check_name(name)?;
        let wrong = |expected: &str| {
            ApiError::bad(
                "bad_option",
                format!("`{name}`: expected {expected}, got `{}`", short(value)),
            )
        };
        let option = OPTIONS.into_iter().find(|&option| option == name);
        if let Some(detail) = option.filter(|&option| !matches!(option, "gradcam" | "top")) {
            self.heat_map_options.push(detail);
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
                self.check_count()?;
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

    /// Takes numbers for an input of the model.
    pub(super) fn add_input(&mut self, name: String, values: Vec<f32>) -> Result<(), ApiError> {
        check_name(&name)?;
        self.check_count()?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(ApiError::bad(
                "bad_input_number",
                format!("input `{}`: value {} is not finite", short(&name), at + 1),
            ));
        }
        self.inputs.push(ExtraInput { name, values });
        Ok(())
    }

    fn check_count(&self) -> Result<(), ApiError> {
        if self.fields.len() + self.inputs.len() >= MAX_FIELDS {
            return Err(too_many_fields());
        }
        Ok(())
    }

    /// Builds the question. `gradcam` says whether this server makes heat maps.
    pub(super) fn finish(self, subject: Subject, gradcam: bool) -> Result<Question, ApiError> {
        let wanted = self.gradcam.unwrap_or(false);
        if let (false, Some(detail)) = (wanted, self.heat_map_options.first()) {
            return Err(ApiError::bad(
                "option_without_heat_map",
                format!("`{detail}` has no effect without a heat map"),
            )
            .hint(format!("add `gradcam=1`, or leave `{detail}` out")));
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
                format!("`method={method}` does not depend on a class, so `class` has no effect"),
            ));
        }
        Ok(Question {
            subject,
            heat_map: wanted.then_some(self.heat_map),
            fields: self.fields,
            inputs: self.inputs,
            fresh: self.fresh,
            heat_map_only: false,
        })
    }
}

/// Refuses a name that no model can have: a message would repeat it.
fn check_name(name: &str) -> Result<(), ApiError> {
    if name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(ApiError::bad(
        "name_too_long",
        format!(
            "the name `{}` has more than {MAX_NAME_BYTES} bytes",
            short(name)
        ),
    ))
}

pub(super) fn too_many_fields() -> ApiError {
    ApiError::bad(
        "too_many_fields",
        format!("the request has more than {MAX_FIELDS} fields and inputs"),
    )
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The pairs of a query (WHATWG URL, urlencoded parsing); a name without `=` means `name=1`.
fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> + '_ {
    query.split('&').filter_map(|part| {
        let (name, value) = form_urlencoded::parse(part.as_bytes()).next()?;
        let value = if part.contains('=') {
            value
        } else {
            Cow::Borrowed("1")
        };
        Some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(query: &str) -> Result<Question, ApiError> {
        QuestionBuilder::from_query(query)?.finish(Subject::Photo(Bytes::new()), true)
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
            let again = QuestionBuilder::from_options(&ask.options()).unwrap();
            let again = again.finish(ask.subject.clone(), true).unwrap();
            assert_eq!(again.heat_map, ask.heat_map, "{query}");
            assert_eq!(again.fields, ask.fields, "{query}");
            assert_eq!(again.inputs, ask.inputs, "{query}");
        }
    }

    #[test]
    fn options_without_effect_are_refused() {
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
            (&format!("{}=1", "n".repeat(257)), "name_too_long"),
        ] {
            assert_eq!(finish(query).unwrap_err().kind, kind, "{query}");
        }
        let many: Vec<String> = (0..65).map(|i| format!("f{i}=1")).collect();
        let many = many.join("&");
        assert_eq!(finish(&many).unwrap_err().kind, "too_many_fields");
        let off = QuestionBuilder::from_query("gradcam=1").unwrap();
        let off = off.finish(Subject::Photo(Bytes::new()), false).unwrap_err();
        assert_eq!(off.status, StatusCode::NOT_IMPLEMENTED);
    }

    #[test]
    fn queries_are_decoded_as_browsers_write_them() {
        for (query, name, value) in [
            ("gradcam", "gradcam", "1"),
            ("a=", "a", ""),
            ("a=b=c", "a", "b=c"),
            ("&&a=1&", "a", "1"),
            ("a%20b=c+d%2B", "a b", "c d+"),
            ("a=%C3%A9%", "a", "\u{e9}%"),
            ("a=%zz", "a", "%zz"),
        ] {
            let pairs: Vec<_> = query_pairs(query).collect();
            assert_eq!(pairs, [(name.into(), value.into())], "{query}");
        }
        assert_eq!(query_pairs("").count(), 0);
    }
}
