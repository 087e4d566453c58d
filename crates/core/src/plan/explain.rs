//! The routes in the order in which they are tried, for people.

use std::fmt::Write as _;

use super::Plan;

/// So many of something, as one says it.
fn counted(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

impl Plan {
    /// A table of all routes in the computed order: what `gatehouse routes` prints. A route with several
    /// hosts has a row for each.
    pub fn explain(&self) -> String {
        let mut rows = vec![
            ["#", "route", "host", "path", "methods", "conditions"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for (i, row) in self.table.explain().enumerate() {
            let mut conditions = Vec::new();
            if row.headers > 0 {
                conditions.push(counted(row.headers, "condition"));
            }
            if row.query > 0 {
                conditions.push(counted(row.query, "query parameter"));
            }
            conditions.extend(row.version.map(|version| format!("version {version}")));
            let methods = if row.methods.is_empty() {
                "any".to_owned()
            } else {
                row.methods.join(",")
            };
            rows.push(vec![
                (i + 1).to_string(),
                row.name.to_owned(),
                row.host,
                row.path.unwrap_or("any").to_owned(),
                methods,
                conditions.join(", "),
            ]);
        }
        let width = |column: usize| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<_> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
        let mut out = String::new();
        for row in &rows {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:width$}"));
            // Writing to a String does not fail.
            let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        out
    }
}
