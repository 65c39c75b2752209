//! The gate of a model whose backend runs one session at a time: whoever calls the backend goes through it alone.
//!
//! A session that is dropped while another is inside is closed by that one on its way out: the contract keeps
//! `session_close` out as well, and whoever drops a session shall not wait for another's request. A request that was
//! given up for lost stays inside; then nobody waits any more, and it is an error to want in.

use crate::error::Result;
use crate::plugin::OpenSession;
use crate::threads::{Budget, Lease, Want};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The gate of one model.
pub(crate) struct Gate {
    places: Arc<Budget>,
    /// The backend runs in this process. A worker keeps its own sessions apart, and what is lost in it ends with it.
    here: bool,
    /// How many of those inside were given up for lost.
    lost: AtomicUsize,
    /// Sessions that were dropped while somebody was inside.
    closing: Mutex<Vec<OpenSession>>,
}

impl Gate {
    pub(crate) fn new(places: usize, here: bool) -> Arc<Self> {
        Arc::new(Self { places: Budget::new(places), here, lost: AtomicUsize::new(0), closing: Mutex::default() })
    }

    /// Waits for its turn, until `goes_on` gives an error.
    pub(crate) fn enter(self: &Arc<Self>, goes_on: impl Fn() -> Result<()>) -> Result<Inside> {
        let place = self.places.lease_while(Want::UpTo(1), goes_on)?;
        Ok(self.inside(place))
    }

    /// Whether everybody inside was given up for lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire) >= self.places.total()
    }

    /// Closes a session: now, or when whoever is inside leaves.
    pub(crate) fn close(self: &Arc<Self>, session: OpenSession) {
        if !self.here {
            return drop(session);
        }
        self.closing().push(session);
        // Nobody is inside: going in and out closes it.
        drop(self.places.try_lease().map(|place| self.inside(place)));
    }

    fn inside(self: &Arc<Self>, place: Lease) -> Inside {
        Inside { gate: Arc::clone(self), place: Some(place), lost: AtomicBool::new(false) }
    }

    fn closing(&self) -> MutexGuard<'_, Vec<OpenSession>> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to call the backend; given back when dropped.
pub(crate) struct Inside {
    gate: Arc<Gate>,
    /// `None` only while this is dropped.
    place: Option<Lease>,
    lost: AtomicBool,
}

impl Inside {
    /// Whoever is inside may never come out.
    pub(crate) fn lose(&self) {
        if self.gate.here && !self.lost.swap(true, Ordering::AcqRel) {
            self.gate.lost.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if *self.lost.get_mut() {
            self.gate.lost.fetch_sub(1, Ordering::AcqRel);
        }
        loop {
            let closing = std::mem::take(&mut *self.gate.closing());
            drop(closing);
            self.place = None;
            // One that came after the look and before the place was free.
            if self.gate.closing().is_empty() {
                return;
            }
            self.place = self.gate.places.try_lease();
            if self.place.is_none() {
                // Whoever has it now closes it.
                return;
            }
        }
    }
}
