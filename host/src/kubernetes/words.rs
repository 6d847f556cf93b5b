//! What the client's errors say to people: the part that helps, and no secret. kube's own texts show the lines of a
//! kubeconfig around a mistake, the arguments of a credentials plugin, and what it has printed: any of them may be a token.

use std::{error::Error, iter::successors};

use kube::{client::AuthError, config::KubeconfigError};

/// The server's own words; else the ends of the chain of causes, whose beginnings are layers of
/// the client's.
pub(crate) fn in_plain_words(error: &kube::Error) -> String {
    match error {
        // What kube makes of an answer that is no `Status`. Such is this one: "please try again later".
        kube::Error::Api(status) if status.code == 429 => "the API server has too much to do (HTTP 429)".to_owned(),
        kube::Error::Api(status) if status.reason == "Failed to parse error data" => {
            format!("what answers (HTTP {}) is not the API server of a Kubernetes cluster", status.code)
        }
        kube::Error::Api(status) => status.message.clone(),
        error => of_causes(error),
    }
}

/// The last two causes of an error; or what may be said of one that would print a secret.
pub(super) fn of_causes(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<_> = chain(error).collect();
    if let Some(words) = causes.iter().find_map(|cause| without_secrets(*cause)) {
        return words;
    }
    let words: Vec<_> = causes.iter().map(ToString::to_string).collect();
    words[words.len().saturating_sub(2)..].join(": ")
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn without_secrets(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(KubeconfigError::Parse(error)) = error.downcast_ref() {
        return Some(format!("failed to parse kubeconfig YAML: {}", error.without_snippet()));
    }
    if let Some(error) = error.downcast_ref::<serde_saphyr::Error>() {
        return Some(error.without_snippet().to_string());
    }
    Some(match error.downcast_ref::<AuthError>()? {
        AuthError::AuthExecRun { out, .. } => {
            // Its words to people. What it prints to stdout is a token.
            let said = String::from_utf8_lossy(&out.stderr);
            format!("the kubeconfig's credentials plugin has failed ({}): {}", out.status, said.trim())
        }
        AuthError::AuthExecParse(error) => {
            let at =
                error.location().map_or(String::new(), |at| format!(" at line {}, column {}", at.line(), at.column()));
            format!("what the kubeconfig's credentials plugin has printed is not an ExecCredential: mistake{at}")
        }
        AuthError::AuthExec(_) => "the kubeconfig's credentials plugin cannot be run".to_owned(),
        AuthError::ParseTokenKey(_) => "the file of the kubeconfig's token has no token in it".to_owned(),
        _ => return None,
    })
}

/// A URL without its user-info, in which there may be a password.
pub(super) fn without_user_info(url: &http::Uri) -> String {
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    format!("{}://{}{port}{}", url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use kube::config::Kubeconfig;

    use super::*;

    const PLANTED: &str = "planted-token";

    #[test]
    fn a_mistake_in_a_kubeconfig_is_told_without_its_lines() {
        let text = format!("users: [{{name: t, user: {{token: {PLANTED}, bad: [}}}}]\n");
        let error = Kubeconfig::from_yaml(&text).expect_err("a mistake");
        assert!(error.to_string().contains(PLANTED), "kube shows no lines any more: {error}");
        let words = of_causes(&error);
        assert!(!words.contains(PLANTED) && words.contains("line 1"), "{words}");
    }

    #[test]
    fn of_a_credentials_plugin_only_what_it_says_to_people_is_told() {
        let out = std::process::Output {
            status: ExitStatusExt::from_raw(3 << 8),
            stdout: PLANTED.into(),
            stderr: b"log in again\n".into(),
        };
        let failed = AuthError::AuthExecRun { cmd: format!("plugin --secret {PLANTED}"), out: Box::new(out) };
        let words = in_plain_words(&kube::Error::Auth(failed));
        assert!(
            !words.contains(PLANTED) && words.contains("exit status: 3") && words.ends_with("log in again"),
            "{words}"
        );
        // As it comes when a token is renewed later.
        let parse = serde_saphyr::from_str::<u32>(&format!("{{token: {PLANTED}")).expect_err("a mistake");
        let renewing = kube::Error::Service(Box::new(AuthError::AuthExecParse(Box::new(parse))));
        let words = in_plain_words(&renewing);
        assert!(!words.contains(PLANTED) && words.contains("is not an ExecCredential"), "{words}");
    }

    #[test]
    fn a_clusters_address_is_told_without_a_password() {
        let told = |url: &str| without_user_info(&url.parse().expect("a URL"));
        assert_eq!(told("https://me:secret@api.example:6443/x?token=secret"), "https://api.example:6443/x");
        assert_eq!(told("https://[::1]/"), "https://[::1]/");
    }
}
