//! State: what happened, kept apart from what was configured.
//!
//! Counters, pools, health and key sets outlive the plan that wanted them first: the next plan finds them by
//! identity. Plans hold state by `Arc`, [`States`] only by `Weak`, so that state and its background task die
//! with the last plan that refers to them. Nothing here is looked up while a request is served.

pub mod meter;
pub mod task;

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

pub use meter::Meters;
pub use task::Task;

/// All live state of a gateway, by what it is and whose it is.
#[derive(Default, Debug)]
pub struct States {
    live: Mutex<HashMap<Key, Weak<dyn Any + Send + Sync>>>,
}

#[derive(PartialEq, Eq, Hash, Debug)]
struct Key {
    kind: TypeId,
    identity: Box<str>,
    shape: Box<str>,
}

impl States {
    /// No state yet.
    pub fn new() -> Self {
        States::default()
    }

    /// The live `T` of that identity and shape, or a new one.
    ///
    /// The identity is the name or the place in the document (`routes.orders.policies[1]`). The shape lists
    /// the parameters that make old contents meaningless: `window=60s`, but not the limit. `make` may adopt
    /// other state. If two threads make the same at once, one is kept and both get it.
    pub fn adopt<T: Any + Send + Sync>(
        &self,
        identity: &str,
        shape: &str,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let key = Key {
            kind: TypeId::of::<T>(),
            identity: identity.into(),
            shape: shape.into(),
        };
        if let Some(found) = find(&self.lock(), &key) {
            return found;
        }
        // Not under the lock: `make` is somebody else's code.
        let fresh = Arc::new(make());
        let mut live = self.lock();
        if let Some(found) = find(&live, &key) {
            return found;
        }
        let erased: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(&fresh);
        live.insert(key, Arc::downgrade(&erased));
        fresh
    }

    /// Forgets what no plan refers to any more. Their values are gone already; this frees the names.
    pub fn sweep(&self) {
        self.lock().retain(|_, state| state.strong_count() > 0);
    }

    /// How many are known, those not yet swept included.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<dyn Any + Send + Sync>>> {
        // The map is whole after any panic: each change is one call.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find<T: Any + Send + Sync>(live: &HashMap<Key, Weak<dyn Any + Send + Sync>>, key: &Key) -> Option<Arc<T>> {
    // The type is part of the key, so the downcast fails for nobody.
    live.get(key)?.upgrade()?.downcast().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(u32);

    #[test]
    fn the_next_plan_finds_the_same_state() {
        let states = States::new();
        let one = states.adopt("routes.a.policies[0]", "window=1s", || Counter(1));
        let again = states.adopt("routes.a.policies[0]", "window=1s", || Counter(2));
        assert!(Arc::ptr_eq(&one, &again) && again.0 == 1);
    }

    #[test]
    fn another_identity_shape_or_type_is_another_state() {
        let states = States::new();
        let one = states.adopt("a", "x", || Counter(1));
        let identity = states.adopt("b", "x", || Counter(2));
        let shape = states.adopt("a", "y", || Counter(3));
        let kind = states.adopt("a", "x", || 4_u64);
        assert_eq!((one.0, identity.0, shape.0, *kind, states.len()), (1, 2, 3, 4, 4));
    }

    #[test]
    fn state_dies_with_its_last_plan() {
        let states = States::new();
        let old_plan = states.adopt("a", "", || Counter(1));
        let new_plan = states.adopt("a", "", || Counter(2));
        drop(old_plan);
        states.sweep();
        assert_eq!(states.len(), 1);
        drop(new_plan);
        assert_eq!(
            states.adopt("a", "", || Counter(3)).0,
            3,
            "also if nobody has swept"
        );
        states.sweep();
        assert!(states.is_empty());
    }

    #[test]
    fn making_may_adopt() {
        let states = States::new();
        let outer = states.adopt("outer", "", || states.adopt("inner", "", || Counter(7)));
        assert_eq!((outer.0, states.len()), (7, 2));
    }

    #[test]
    fn of_two_made_at_once_one_is_kept() {
        let states = States::new();
        let mut other = None;
        let mine = states.adopt("a", "", || {
            other = Some(states.adopt("a", "", || Counter(1)));
            Counter(2)
        });
        assert!(Arc::ptr_eq(&mine, &other.unwrap()));
    }
}
