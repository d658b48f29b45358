//! HEALTHCHECK: whether its program is in the image, whether a shell reads it, and which address it
//! asks.

use crate::readiness::hosts::{self, Deployment, Host};
use crate::readiness::image::base::Has;
use crate::readiness::image::env::Place;
use crate::readiness::image::files::base_name;
use crate::readiness::image::{Form, Image};
use crate::readiness::launch::serve::{DEFAULT_PORT, Port};
use crate::readiness::launch::shell::{self, Expander, Word};
use crate::readiness::launch::{Launch, Program};
use crate::readiness::rules::{self, Findings};
use crate::text as suggest;

pub(super) fn check(deployment: &Deployment, image: &Image, launch: &Launch, out: &mut Findings) {
    let Some(said) = &image.health else { return };
    let Some(form) = &said.value else { return };
    let asked = Asked {
        deployment,
        image,
        launch,
        place: &said.place,
    };
    match form {
        Form::Shell(text) => {
            let shell = image.shell.first().map_or("/bin/sh", String::as_str);
            if image.machine.has_program(shell, &image.base) == Has::No {
                let base = suggest::shorten(&image.base.name);
                return asked.broken(
                    format!("it is a text for `{shell}`, which `{base}` does not have"),
                    out,
                );
            }
            asked.text(text, out);
        }
        Form::Words(words) => asked.words(words, out),
    }
}

struct Asked<'a> {
    deployment: &'a Deployment,
    image: &'a Image,
    launch: &'a Launch,
    place: &'a Place,
}

impl Asked<'_> {
    fn broken(&self, what: impl Into<String>, out: &mut Findings) {
        out.add(
            &rules::HEALTHCHECK_BROKEN,
            &self.place.file,
            self.place.line,
            what,
        );
    }

    fn words(&self, words: &[String], out: &mut Findings) {
        let Some(program) = words.first() else { return };
        let shell = matches!(base_name(program), "sh" | "bash" | "ash" | "dash");
        if let ([_, option, text, ..], true) = (words, shell)
            && option.ends_with('c')
        {
            if self.image.machine.has_program(program, &self.image.base) == Has::No {
                let base = suggest::shorten(&self.image.base.name);
                return self.broken(format!("`{base}` has no `{program}`"), out);
            }
            return self.text(text, out);
        }
        let operator = words
            .iter()
            .find(|word| matches!(word.as_str(), "||" | "&&" | ";" | "|"));
        let variable = words.iter().find(|word| word.contains('$'));
        if let Some(word) = operator.or(variable) {
            let word = suggest::shorten(word);
            return self.broken(
                format!("no shell reads this list, and `{program}` gets `{word}` as it is written"),
                out,
            );
        }
        self.command(&shell::literal(words), out);
    }

    fn text(&self, text: &str, out: &mut Findings) {
        let get = |name: &str| self.launch.machine.env.get(name);
        let expander = Expander {
            get: &get,
            arguments: &[],
            splits: true,
        };
        for step in shell::steps(text) {
            let words: Vec<Word> = step
                .words
                .iter()
                .flat_map(|word| expander.words(word))
                .collect();
            self.command(&words, out);
        }
    }

    fn command(&self, words: &[Word], out: &mut Findings) {
        let Some((program, rest)) = words.split_first() else {
            return;
        };
        let name = base_name(&program.text);
        if matches!(
            name,
            "exit" | "true" | "test" | "[" | "echo" | "grep" | "set"
        ) || program.runtime
        {
            return;
        }
        if self
            .image
            .machine
            .has_program(&program.text, &self.image.base)
            == Has::No
        {
            let base = suggest::shorten(&self.image.base.name);
            let what =
                format!("`{base}` has no `{name}`, and nothing that can be seen installs it");
            self.broken(what, out);
        }
        let asks = matches!(name, "curl" | "wget" | "dermal");
        let url = rest.iter().find(|word| {
            let text = word.text.as_str();
            text.contains("://")
                || asks && (text.starts_with("localhost") || text.starts_with("127.0.0.1"))
        });
        if let Some(url) = url {
            self.url(name, &url.text, out);
        }
    }

    fn url(&self, program: &str, url: &str, out: &mut Findings) {
        // Inside a longer text, such as a line of Python, the address ends at a quote.
        let at = url.find("://").map_or(0, |at| at + 3);
        let rest: String = url[at..]
            .chars()
            .take_while(|c| !c.is_whitespace() && !"\"'`),]".contains(*c))
            .collect();
        let (host, path) = rest
            .find('/')
            .map_or((rest.as_str(), "/"), |at| rest.split_at(at));
        if program != "dermal" {
            hosts::health(&self.place.file, self.place.line, path, out);
        }
        let local = ["localhost", "127.", "[::1]", "0.0.0.0"]
            .iter()
            .any(|name| host.starts_with(name));
        let port = match host.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().ok(),
            _ => Some(if url.starts_with("https") { 443 } else { 80 }),
        };
        let Program::Serve(serve) = &self.launch.program else {
            return;
        };
        let mut bound = serve.port(&self.launch.machine.env);
        if bound == Port::Given && self.deployment.host == Host::Docker {
            // Docker runs HEALTHCHECK, and sets no port.
            bound = Port::Default(DEFAULT_PORT);
        }
        // A port that the host may still set is not compared.
        let settled = matches!(bound, Port::Fixed(_))
            || matches!(self.deployment.host, Host::Fly | Host::Compose)
            || self.deployment.host == Host::Docker
                && matches!(bound, Port::Variable(_) | Port::Default(_));
        if let (Some(asked), Some(bound), true, true) = (port, bound.number(), local, settled)
            && asked != bound
        {
            self.broken(
                format!("it asks port {asked}, and the server binds {bound}"),
                out,
            );
        }
    }
}
