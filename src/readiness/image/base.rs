//! The known facts about base images: whether there is a shell, and which programs and users they
//! have. The facts are those of images published in 2026; unknown facts stay unknown.

/// Whether an image has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Has {
    Yes,
    No,
    /// Unknown.
    Perhaps,
}

/// A base image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// Its name as written.
    pub(crate) name: String,
    kind: Kind,
    /// The user that the image sets.
    pub(crate) user: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `scratch`, and images with libraries only: no shell, no program.
    Empty,
    /// The same with a shell in an unusual place.
    Debug,
    /// Debian and Ubuntu; `full` ones have curl and wget.
    Debian {
        full: bool,
    },
    /// Alpine and busybox: wget, and no bash.
    Busybox,
    /// Fedora and similar distributions.
    RedHat,
    /// A machine of a host that builds from the repository.
    Host,
    Unknown,
}

/// Programs that a base image of a kind does not have unless they are installed.
const NOT_IN_DEBIAN: [&str; 11] = [
    "curl",
    "wget",
    "tini",
    "dumb-init",
    "gosu",
    "su-exec",
    "nc",
    "http",
    "dermal",
    "doas",
    "jq",
];
const NOT_IN_BUSYBOX: [&str; 13] = [
    "curl",
    "bash",
    "tini",
    "dumb-init",
    "gosu",
    "su-exec",
    "python",
    "python3",
    "node",
    "dermal",
    "sudo",
    "runuser",
    "jq",
];

/// Images of Docker's own library whose full form is built on `buildpack-deps`, with curl and wget.
const LANGUAGES: [&str; 9] = [
    "rust",
    "python",
    "node",
    "golang",
    "ruby",
    "gcc",
    "perl",
    "openjdk",
    "buildpack-deps",
];

impl Base {
    /// The base of a reference such as `debian:12-slim`.
    pub(crate) fn of(reference: &str) -> Self {
        let plain = reference.split('@').next().unwrap_or_default();
        let plain = plain
            .trim_start_matches("docker.io/")
            .trim_start_matches("index.docker.io/")
            .trim_start_matches("public.ecr.aws/docker/")
            .trim_start_matches("mirror.gcr.io/")
            .trim_start_matches("library/");
        let (path, tag) = match plain.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (plain, ""),
        };
        let tag_has = |part: &str| tag.split(['-', '.']).any(|p| p.starts_with(part));
        let mut user = None;
        let kind = if reference == "scratch" {
            Kind::Empty
        } else if let Some(image) = path.strip_prefix("gcr.io/distroless/") {
            if tag_has("nonroot") {
                user = Some("nonroot".to_owned());
            }
            let bare = ["static", "base", "cc"]
                .iter()
                .any(|name| image.starts_with(name));
            match (tag_has("debug"), bare) {
                (true, _) => Kind::Debug,
                (false, true) => Kind::Empty,
                (false, false) => Kind::Unknown,
            }
        } else if let Some(image) = path.strip_prefix("cgr.dev/chainguard/") {
            match image {
                "static" | "glibc-dynamic" | "cc-dynamic" if !tag_has("dev") => {
                    user = Some("65532".to_owned());
                    Kind::Empty
                }
                "wolfi-base" => Kind::Busybox,
                _ => Kind::Unknown,
            }
        } else {
            match path {
                "debian" | "ubuntu" => Kind::Debian { full: false },
                "alpine" | "busybox" => Kind::Busybox,
                "fedora"
                | "almalinux"
                | "rockylinux"
                | "rockylinux/rockylinux"
                | "amazonlinux"
                | "oraclelinux"
                | "centos" => Kind::RedHat,
                name if LANGUAGES.contains(&name) => {
                    let curl = name == "buildpack-deps" && tag_has("curl");
                    if tag_has("alpine") {
                        Kind::Busybox
                    } else if tag_has("slim") {
                        Kind::Debian { full: false }
                    } else if curl || !tag_has("windows") {
                        Kind::Debian { full: true }
                    } else {
                        Kind::Unknown
                    }
                }
                _ => Kind::Unknown,
            }
        };
        Self {
            name: reference.to_owned(),
            kind,
            user,
        }
    }

    /// An image without any known facts.
    pub(crate) fn unknown(reference: &str) -> Self {
        Self {
            name: reference.to_owned(),
            kind: Kind::Unknown,
            user: None,
        }
    }

    /// The machine on which a host runs a repository without a container.
    pub(crate) fn host() -> Self {
        Self {
            name: "the host".to_owned(),
            kind: Kind::Host,
            user: Some("app".to_owned()),
        }
    }

    /// Whether it contains only what is copied into it.
    pub(crate) fn is_empty(&self) -> bool {
        self.kind == Kind::Empty
    }

    /// Whether it may contain files of an application.
    pub(crate) fn may_hold_files(&self) -> bool {
        matches!(self.kind, Kind::Unknown)
    }

    /// Whether it may have programs in unusual folders.
    pub(crate) fn may_hold_programs(&self) -> bool {
        matches!(self.kind, Kind::Unknown | Kind::Debug | Kind::Host)
    }

    /// Whether it has a program.
    pub(crate) fn has(&self, program: &str) -> Has {
        let language = self.name.rsplit('/').next().unwrap_or_default();
        let language = language.split(':').next().unwrap_or_default();
        let own = match language {
            "python" => program.starts_with("python") || program.starts_with("pip"),
            "rust" => matches!(program, "cargo" | "rustc"),
            other => program == other,
        };
        let not_in = |list: &[&str]| {
            if list.contains(&program) {
                Has::No
            } else {
                Has::Perhaps
            }
        };
        let shell = matches!(program, "sh" | "env");
        match self.kind {
            Kind::Empty => Has::No,
            _ if own => Has::Yes,
            Kind::Debug | Kind::Unknown | Kind::Host => Has::Perhaps,
            Kind::Debian { .. } | Kind::Busybox | Kind::RedHat if shell => Has::Yes,
            Kind::Debian { full: true } if matches!(program, "curl" | "wget") => Has::Yes,
            Kind::Debian { .. } => not_in(&NOT_IN_DEBIAN),
            Kind::Busybox => not_in(&NOT_IN_BUSYBOX),
            Kind::RedHat => not_in(&["tini", "dumb-init", "gosu", "su-exec", "dermal"]),
        }
    }

    /// Whether it knows a user by name.
    pub(crate) fn knows_user(&self, name: &str) -> Has {
        let root = matches!(name, "root" | "0");
        match self.kind {
            Kind::Empty if self.name == "scratch" && !root => Has::No,
            Kind::Empty if self.name.starts_with("gcr.io/distroless/") => {
                if matches!(name, "root" | "nobody" | "nonroot") {
                    Has::Yes
                } else {
                    Has::No
                }
            }
            Kind::Debian { .. } | Kind::Busybox => {
                let known = [
                    "root", "nobody", "daemon", "bin", "sys", "mail", "www-data", "games",
                ];
                let language = LANGUAGES.iter().any(|name| self.name.contains(name));
                match (known.contains(&name), language) {
                    (true, _) => Has::Yes,
                    // `node` has its own user, and other images may have theirs.
                    (false, true) => Has::Perhaps,
                    (false, false) if matches!(name, "ubuntu" | "operator" | "guest" | "ftp") => {
                        Has::Perhaps
                    }
                    (false, false) => Has::No,
                }
            }
            _ => Has::Perhaps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_well_known_images() {
        for (image, program, has) in [
            ("scratch", "sh", Has::No),
            ("gcr.io/distroless/static-debian12:nonroot", "sh", Has::No),
            ("gcr.io/distroless/cc-debian12:debug", "sh", Has::Perhaps),
            ("debian:12-slim", "curl", Has::No),
            ("docker.io/library/debian:12", "sh", Has::Yes),
            ("alpine:3.20", "curl", Has::No),
            ("alpine:3.20", "wget", Has::Perhaps),
            ("rust:1.95", "curl", Has::Yes),
            ("rust:1.95-slim", "curl", Has::No),
            ("python:3.12-alpine", "bash", Has::No),
            ("python:3.12-slim", "python3", Has::Yes),
            ("ghcr.io/me/base:1", "curl", Has::Perhaps),
            (
                "registry.example.org:5000/base/debian:12",
                "curl",
                Has::Perhaps,
            ),
        ] {
            assert_eq!(Base::of(image).has(program), has, "{image} {program}");
        }
        let user = |image| Base::of(image).user;
        assert_eq!(
            user("gcr.io/distroless/cc-debian12:nonroot").as_deref(),
            Some("nonroot")
        );
        assert_eq!(user("debian:12"), None);
        assert_eq!(Base::of("scratch").knows_user("app"), Has::No);
        assert_eq!(Base::of("debian:12").knows_user("nobody"), Has::Yes);
    }
}
