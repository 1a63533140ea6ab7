//! How many streams a user has open in this process.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use uuid::Uuid;

/// The count by user.
pub struct Seats {
    most: usize,
    taken: Arc<Mutex<HashMap<Uuid, usize>>>,
}

/// One of them, given back when it is dropped.
pub struct Seat {
    user_id: Uuid,
    taken: Arc<Mutex<HashMap<Uuid, usize>>>,
}

impl Seats {
    /// `most` for each user.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// Nothing where the user has all of its seats.
    #[must_use]
    pub fn take(&self, user_id: Uuid) -> Option<Seat> {
        let mut taken = self.taken.lock();
        let count = taken.entry(user_id).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Seat { user_id, taken: self.taken.clone() })
    }

    /// For each user.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        if let Some(count) = taken.get_mut(&self.user_id) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.user_id);
            }
        }
    }
}
