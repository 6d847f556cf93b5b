//! Returns an error, as a task does that finds its database gone.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

struct ReturnsError;

impl Guest for ReturnsError {
    fn on_start_leading(term: Term) -> Result<(), String> {
        Err(format!("no luck in term {}", term.token))
    }
}

export!(ReturnsError);
