//! Tables of percentiles.

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use hdrhistogram::Histogram;

/// Samples of one row, in microseconds.
pub(crate) struct Samples(Histogram<u64>);

impl Samples {
    pub(crate) fn new() -> Self {
        Self(Histogram::new(5).expect("five digits are possible"))
    }

    pub(crate) fn add_micros(&mut self, micros: i64) {
        // A clock that was set back between two lines makes a negative time: count it as none.
        self.0.record(u64::try_from(micros).unwrap_or(0)).expect("it grows as it needs to");
    }

    pub(crate) fn p50_ms(&self) -> f64 {
        self.0.value_at_quantile(0.5) as f64 / 1e3
    }
}

/// A table with a row of percentiles for each name.
pub(crate) struct Percentiles {
    title: &'static str,
    table: Table,
}

impl Percentiles {
    pub(crate) fn new(title: &'static str) -> Self {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_header(["", "n", "p50", "p99", "max", "ratio"]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        Self { title, table }
    }

    /// `ratio` is this row's p50 against that of `limit`.
    pub(crate) fn row(&mut self, name: &str, samples: &Samples, limit: Option<&Samples>) {
        let ms = |micros: u64| format!("{:.3}", micros as f64 / 1e3);
        let Samples(histogram) = samples;
        self.table.add_row([
            name.to_owned(),
            histogram.len().to_string(),
            ms(histogram.value_at_quantile(0.5)),
            ms(histogram.value_at_quantile(0.99)),
            ms(histogram.max()),
            limit.map_or("1".to_owned(), |limit| format!("{:.2}", samples.p50_ms() / limit.p50_ms())),
        ]);
    }

    pub(crate) fn print(&self) {
        println!("{}\n\n{}\n", self.title, self.table);
    }
}
