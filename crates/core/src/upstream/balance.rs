//! Which endpoint takes the next request.
//!
//! An [`EndpointSet`] is what can be picked from at one moment: immutable, shared by all workers, replaced whole when
//! addresses or weights change. Picking is a plain function over the set and a cursor of the worker's own, so workers
//! never meet. Each worker walks the whole order evenly by itself; starting at its own number ([`start`]), workers do
//! not all begin with the first endpoint. Over any time the shares differ from the weights by at most one request for
//! each worker and endpoint, however connections are spread over the workers.

use std::cell::Cell;
use std::sync::Arc;

use super::endpoint::Endpoint;
use crate::config::Balance;

#[cfg(test)]
mod tests;

/// The longest order kept for round robin; weights that need a longer one are rounded.
const MAX_ORDER: u64 = 8192;
/// Up to so many endpoints least request looks at all of them, above at two.
const SCANNED: usize = 8;

/// An endpoint and its share.
#[derive(Debug, Clone)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its share of the requests, relative to the others; 0 is none.
    pub weight: u32,
}

/// The endpoints of an upstream at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Changes with every new set of an upstream; counts up.
    pub generation: u64,
    members: Vec<Member>,
    /// Indices into `members`, each as often as its weight says, well mixed.
    order: Vec<u32>,
    /// Host names that have no address yet, or no more.
    pub unresolved: Vec<Box<str>>,
}

/// Where a worker's cursor begins.
pub fn start(worker: u32) -> Cell<u32> {
    Cell::new(worker)
}

impl EndpointSet {
    /// A set of these endpoints. The weights of an endpoint that is there twice are added.
    pub fn new(generation: u64, members: Vec<Member>, unresolved: Vec<Box<str>>) -> Self {
        let mut unique: Vec<Member> = Vec::with_capacity(members.len());
        let mut seen = std::collections::HashMap::with_capacity(members.len());
        for member in members {
            let index = *seen.entry(member.endpoint.id).or_insert(unique.len());
            match unique.get_mut(index) {
                Some(twin) => twin.weight = twin.weight.saturating_add(member.weight),
                None => unique.push(member),
            }
        }
        let order = order(&unique);
        Self {
            generation,
            members: unique,
            order,
            unresolved,
        }
    }

    /// The endpoints, in the order in which they are configured and their addresses sort.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// True if there is no endpoint because no name has an address: `upstream_unresolved` and not `no_endpoint`.
    pub fn is_unresolved(&self) -> bool {
        self.members.is_empty() && !self.unresolved.is_empty()
    }

    /// Picks by the upstream's way of balancing.
    pub fn pick(&self, balance: Balance, cursor: &Cell<u32>, exclude: &[u32]) -> Option<&Arc<Endpoint>> {
        match balance {
            Balance::RoundRobin => self.round_robin(cursor, exclude),
            Balance::LeastRequest => self.least_request(cursor, exclude),
        }
    }

    /// The next in turn, by weight. `exclude` has the ids of endpoints that were tried already.
    pub fn round_robin(&self, cursor: &Cell<u32>, exclude: &[u32]) -> Option<&Arc<Endpoint>> {
        let position = cursor.get();
        cursor.set(position.wrapping_add(1));
        self.next_from(position as usize, exclude)
            .map(|member| &member.endpoint)
    }

    /// The one with the fewest requests under way for its weight: of all if they are few, else the better of two.
    /// Equally busy ones take turns by weight.
    pub fn least_request(&self, cursor: &Cell<u32>, exclude: &[u32]) -> Option<&Arc<Endpoint>> {
        let position = cursor.get();
        cursor.set(position.wrapping_add(1));
        let first = self.next_from(position as usize, exclude)?;
        if self.members.len() > SCANNED {
            let other = self.next_from(scatter(position) as usize, exclude)?;
            return Some(&less_busy(first, other).endpoint);
        }
        let rest = self
            .members
            .iter()
            .filter(|m| m.weight > 0 && !exclude.contains(&m.endpoint.id));
        Some(&rest.fold(first, less_busy).endpoint)
    }

    /// The first member from a position of the order on that is not excluded.
    fn next_from(&self, position: usize, exclude: &[u32]) -> Option<&Member> {
        let start = position.checked_rem(self.order.len())?;
        let (before, after) = self.order.split_at_checked(start)?;
        let mut turns = after
            .iter()
            .chain(before)
            .filter_map(|index| self.members.get(*index as usize));
        turns.find(|member| !exclude.contains(&member.endpoint.id))
    }
}

/// The member with the lower load for its weight; the first if they are equal.
fn less_busy<'a>(first: &'a Member, second: &'a Member) -> &'a Member {
    let load = |member: &Member, weight: u32| u64::from(member.endpoint.in_flight()) * u64::from(weight);
    if load(second, first.weight) < load(first, second.weight) {
        second
    } else {
        first
    }
}

/// A number that has nothing to do with its neighbours' (the finaliser of a well-known hash).
fn scatter(position: u32) -> u32 {
    let mut mixed = position.wrapping_add(0x9E37_79B9);
    mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x85EB_CA6B);
    mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xC2B2_AE35);
    mixed ^ (mixed >> 16)
}

/// The order of weighted round robin: a member of weight `w` is due at the times 1/2w, 3/2w, 5/2w ..., which spreads
/// its turns as evenly as can be.
fn order(members: &[Member]) -> Vec<u32> {
    let divisor = members
        .iter()
        .fold(0, |divisor, member| gcd(divisor, member.weight))
        .max(1);
    let total: u64 = members
        .iter()
        .map(|member| u64::from(member.weight / divisor))
        .sum();
    let mut turns = Vec::new();
    for (index, member) in (0u32..).zip(members) {
        let mut weight = u64::from(member.weight / divisor);
        if total > MAX_ORDER && weight > 0 {
            weight = (weight * MAX_ORDER / total).max(1);
        }
        turns.extend((0..weight).map(|turn| (2 * turn + 1, weight, index)));
    }
    // Stable: members that are due together keep their order.
    turns.sort_by(|(a, a_weight, _), (b, b_weight, _)| (a * b_weight).cmp(&(b * a_weight)));
    turns.into_iter().map(|(_, _, index)| index).collect()
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
