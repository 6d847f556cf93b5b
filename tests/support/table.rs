//! Times, and tables of them.

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use hdrhistogram::Histogram;

/// Times of one row, in microseconds.
pub struct Samples(Histogram<u64>);

impl Default for Samples {
    fn default() -> Self {
        Self::new()
    }
}

impl Samples {
    /// None yet.
    pub fn new() -> Self {
        Self(Histogram::new(5).expect("five digits are possible"))
    }

    /// One more.
    pub fn add_micros(&mut self, micros: i64) {
        // A clock that was set back between two lines makes a negative time: count it as none.
        self.0.record(u64::try_from(micros).unwrap_or(0)).expect("it grows as it needs to");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Half of them are shorter.
    pub fn p50_ms(&self) -> f64 {
        self.0.value_at_quantile(0.5) as f64 / 1e3
    }

    /// All but one in a hundred are shorter.
    pub fn p99_ms(&self) -> f64 {
        self.0.value_at_quantile(0.99) as f64 / 1e3
    }

    /// The longest.
    pub fn max_ms(&self) -> f64 {
        self.0.max() as f64 / 1e3
    }

    /// For a table: p50 (max, n), in milliseconds.
    pub fn cell(&self) -> String {
        format!("{:.1} ({:.1}, {})", self.p50_ms(), self.max_ms(), self.count())
    }
}

/// A table whose first column is text, and the others numbers.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A table of what was measured of Leasehold and of client-go, with the ratio of the one to the other.
pub struct SideBySide {
    title: String,
    table: Table,
}

impl SideBySide {
    /// No row yet.
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), table: table(&["", "Leasehold", "client-go", "ratio"]) }
    }

    /// Times; the ratio is that of their p50.
    pub fn times(&mut self, what: &str, ours: Option<&Samples>, theirs: Option<&Samples>) {
        let ratio = ours.zip(theirs).map(|(ours, theirs)| ours.p50_ms() / theirs.p50_ms());
        self.row(what, ours.map(Samples::cell), theirs.map(Samples::cell), ratio);
    }

    /// Numbers of which there is one.
    pub fn numbers(&mut self, what: &str, ours: Option<f64>, theirs: Option<f64>) {
        let cell = |number: f64| format!("{number:.1}");
        self.row(what, ours.map(cell), theirs.map(cell), ours.zip(theirs).map(|(ours, theirs)| ours / theirs));
    }

    fn row(&mut self, what: &str, ours: Option<String>, theirs: Option<String>, ratio: Option<f64>) {
        let ratio = ratio.map(|ratio| format!("{ratio:.3}"));
        let cell = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        self.table.add_row([what.to_owned(), cell(ours), cell(theirs), cell(ratio)]);
    }

    /// To stdout.
    pub fn print(&self) {
        println!("{}\n\n{}\n", self.title, self.table);
    }
}

/// A table with a row of percentiles for each name.
pub struct Percentiles {
    title: &'static str,
    table: Table,
}

impl Percentiles {
    /// No row yet.
    pub fn new(title: &'static str) -> Self {
        Self { title, table: table(&["", "n", "p50", "p99", "max", "ratio"]) }
    }

    /// `ratio` is this row's p50 against that of `limit`.
    pub fn row(&mut self, name: &str, samples: &Samples, limit: Option<&Samples>) {
        let ms = |ms: f64| format!("{ms:.3}");
        self.table.add_row([
            name.to_owned(),
            samples.count().to_string(),
            ms(samples.p50_ms()),
            ms(samples.p99_ms()),
            ms(samples.max_ms()),
            limit.map_or("1".to_owned(), |limit| format!("{:.2}", samples.p50_ms() / limit.p50_ms())),
        ]);
    }

    /// To stdout.
    pub fn print(&self) {
        println!("{}\n\n{}\n", self.title, self.table);
    }
}
