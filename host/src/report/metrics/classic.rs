//! The text form that Prometheus had before OpenMetrics, for those who do not ask for the newer one: `promtool check
//! metrics`, a person, an old scraper. (<https://prometheus.io/docs/instrumenting/exposition_formats/>)

/// The same, in the older form: there a counter's family has the name of its samples.
pub(super) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The help of a family comes before its type.
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            help = told.split_once(' ');
        } else if let Some(told) = line.strip_prefix("# TYPE ") {
            let (name, metric_type) = told.split_once(' ').unwrap_or((told, "untyped"));
            let suffix = if metric_type == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                text.extend(["# HELP ", name, suffix, " ", words, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", metric_type, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::classic;

    #[test]
    fn a_counter_has_the_name_of_its_samples_and_all_else_stays() {
        let told = "# HELP c How many.\n# TYPE c counter\nc_total{a=\"# b\"} 1\n# HELP g Much.\n# TYPE g gauge\n# UNIT g s\ng 1.0\n# EOF\n";
        let older = "# HELP c_total How many.\n# TYPE c_total counter\nc_total{a=\"# b\"} 1\n# HELP g Much.\n# TYPE g gauge\ng 1.0\n";
        assert_eq!(classic(told), older);
    }
}
