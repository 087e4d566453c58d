//! Metrics of others than the engine: a policy declares its families and is handed cells of them by their labels.
//!
//! Cells are found again by their labels, so that counts outlive a plan. Looked up when a plan is compiled or a state
//! is made, never while a request is served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Count, Family, OVERFLOW, PerWorker, Type, render::Text};
use crate::exchange::Exchange;

/// Series a family may have; those past it share one whose labels are all `_overflow`.
const MOST_SERIES: usize = 2_000;

/// A counter that workers add to without meeting each other.
#[derive(Debug)]
pub struct Tally {
    workers: PerWorker<Count>,
    elsewhere: Count,
}

impl Tally {
    /// Adds one, on the worker of this exchange.
    #[inline]
    pub fn count(&self, ex: &Exchange) {
        self.workers.get(ex.worker.index).inc();
    }

    /// Adds `n`, from any thread. Dearer than [`Tally::count`].
    pub fn add_shared(&self, n: u64) {
        self.elsewhere.add_shared(n);
    }

    /// The sum.
    pub fn get(&self) -> u64 {
        self.workers.sum(Count::get).wrapping_add(self.elsewhere.get())
    }
}

#[derive(Debug)]
enum Cell {
    Tally(Arc<Tally>),
    Gauge(Arc<Count>),
}

type Cells = BTreeMap<Box<[Box<str>]>, Cell>;

/// All families that policies have asked for.
#[derive(Debug)]
pub struct Extra {
    workers: usize,
    families: Mutex<BTreeMap<&'static str, (&'static Family, Cells)>>,
}

impl Extra {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            families: Mutex::default(),
        }
    }

    /// The counter of a family with these labels, found or made.
    pub fn tally(&self, family: &'static Family, labels: &[&str]) -> Arc<Tally> {
        debug_assert_eq!(family.kind, Type::Counter, "{}", family.name);
        let fresh = || {
            Arc::new(Tally {
                workers: PerWorker::new(self.workers),
                elsewhere: Count::default(),
            })
        };
        self.cell(family, labels, |cell| {
            match cell.get_or_insert_with(|| Cell::Tally(fresh())) {
                Cell::Tally(tally) => tally.clone(),
                Cell::Gauge(_) => fresh(),
            }
        })
    }

    /// The gauge of a family with these labels, found or made. A whole number.
    pub fn gauge(&self, family: &'static Family, labels: &[&str]) -> Arc<Count> {
        debug_assert_eq!(family.kind, Type::Gauge, "{}", family.name);
        self.cell(family, labels, |cell| {
            match cell.get_or_insert_with(|| Cell::Gauge(Arc::default())) {
                Cell::Gauge(gauge) => gauge.clone(),
                Cell::Tally(_) => Arc::default(),
            }
        })
    }

    fn cell<T>(
        &self,
        family: &'static Family,
        labels: &[&str],
        take: impl FnOnce(&mut Option<Cell>) -> T,
    ) -> T {
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, cells) = families
            .entry(family.name)
            .or_insert_with(|| (family, Cells::new()));
        let mut key: Box<[Box<str>]> = labels.iter().map(|label| Box::from(*label)).collect();
        if cells.len() >= MOST_SERIES && !cells.contains_key(&key) {
            key = labels.iter().map(|_| Box::from(OVERFLOW)).collect();
        }
        let mut cell = cells.remove(&key);
        let taken = take(&mut cell);
        if let Some(cell) = cell {
            cells.insert(key, cell);
        }
        taken
    }

    pub(super) fn render(&self, text: &mut Text) {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        for (family, cells) in families.values() {
            text.family(family);
            for (labels, cell) in cells {
                let labels: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
                match cell {
                    Cell::Tally(tally) => text.sample(family, &labels, tally.get()),
                    Cell::Gauge(gauge) => text.sample(family, &labels, gauge.get()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Family = Family::counter("asked_total", &["who"], "How often.");
    const OPEN: Family = Family::gauge("open", &[], "How many.");

    #[test]
    fn cells_are_found_again() {
        let extra = Extra::new(2);
        extra.tally(&ASKED, &["a"]).add_shared(2);
        extra.tally(&ASKED, &["a"]).add_shared(3);
        extra.gauge(&OPEN, &[]).set(7);
        let mut text = Text::default();
        extra.render(&mut text);
        let text = text.into_string();
        assert!(
            text.contains("asked_total{who=\"a\"} 5\n") && text.contains("open 7\n"),
            "{text}"
        );
    }

    #[test]
    fn their_number_is_bounded() {
        let extra = Extra::new(1);
        for i in 0..=MOST_SERIES + 5 {
            extra.tally(&ASKED, &[&i.to_string()]).add_shared(1);
        }
        assert_eq!(extra.tally(&ASKED, &[OVERFLOW]).get(), 6);
        assert_eq!(extra.tally(&ASKED, &["0"]).get(), 1, "those that were there stay");
    }
}
