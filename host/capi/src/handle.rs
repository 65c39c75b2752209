//! Generational handles: what C holds as an opaque pointer is a number, never an address.
//!
//! A handle carries its kind, a place in one table of the process, and the generation of that place. So a handle that
//! was freed, is of another kind or was never given out is an error code and never undefined behaviour. Objects are
//! shared: one that is freed while another thread is inside a call with it lives until that call returns.

use host::{Error, ErrorKind};
use std::any::Any;
use std::sync::{Arc, PoisonError, RwLock};

// Bits of a handle: 0 is always set, so that none is NULL and none is an aligned address; kind; place; generation.
const KIND_AT: u32 = 1;
const INDEX_AT: u32 = 5;
const GENERATION_AT: u32 = 29;
const MOST_OBJECTS: usize = 1 << (GENERATION_AT - INDEX_AT);
const LAST_GENERATION: u64 = (1 << (63 - GENERATION_AT)) - 1;

const _: () = assert!(usize::BITS == 64, "handles need pointers of 64 bits");

/// What a handle is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Error = 1,
    Options,
    Engine,
    Table,
    Model,
    Session,
    Request,
    Stream,
    Result,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Error,
        Self::Options,
        Self::Engine,
        Self::Table,
        Self::Model,
        Self::Session,
        Self::Request,
        Self::Stream,
        Self::Result,
    ];

    /// The name of the type in C.
    fn name(self) -> &'static str {
        match self {
            Self::Error => "tenon_error",
            Self::Options => "tenon_options",
            Self::Engine => "tenon_engine",
            Self::Table => "tenon_table",
            Self::Model => "tenon_model",
            Self::Session => "tenon_session",
            Self::Request => "tenon_request",
            Self::Stream => "tenon_stream",
            Self::Result => "tenon_result",
        }
    }
}

/// What can stand behind a handle.
pub(crate) trait Object: Any + Send + Sync {
    /// Its kind.
    const KIND: Kind;
    /// Its opaque type in C.
    type Handle;

    /// What is to be done when its handle is freed and before it is dropped; may wait.
    fn close(&self) {}
}

struct Place {
    generation: u64,
    object: Option<(Kind, Arc<dyn Any + Send + Sync>)>,
}

/// Every object that C holds.
pub(crate) struct Objects {
    places: Vec<Place>,
    free: Vec<usize>,
}

static OBJECTS: RwLock<Objects> = RwLock::new(Objects { places: Vec::new(), free: Vec::new() });

impl Objects {
    fn put(&mut self, kind: Kind, object: Arc<dyn Any + Send + Sync>) -> Option<usize> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() < MOST_OBJECTS => {
                self.places.push(Place { generation: 0, object: None });
                self.places.len() - 1
            }
            None => return None,
        };
        let place = &mut self.places[index];
        place.object = Some((kind, object));
        let generation = usize::try_from(place.generation).ok()?;
        Some(1 | (kind as usize) << KIND_AT | index << INDEX_AT | generation << GENERATION_AT)
    }

    fn find(&self, bits: usize) -> Option<&(Kind, Arc<dyn Any + Send + Sync>)> {
        let place = self.places.get(index_of(bits))?;
        let known = place.generation == (bits >> GENERATION_AT) as u64;
        place.object.as_ref().filter(|(kind, _)| known && kind_of(bits) == Some(*kind))
    }

    fn take(&mut self, bits: usize) -> Option<Arc<dyn Any + Send + Sync>> {
        self.find(bits)?;
        let place = self.places.get_mut(index_of(bits))?;
        let (_, object) = place.object.take()?;
        place.generation += 1;
        // A place that has gone through all generations is given up, so that no handle ever means two things.
        if place.generation <= LAST_GENERATION {
            self.free.push(index_of(bits));
        }
        Some(object)
    }
}

fn index_of(bits: usize) -> usize {
    (bits >> INDEX_AT) & (MOST_OBJECTS - 1)
}

/// The kind that a handle names; `None` for a number that is no handle.
fn kind_of(bits: usize) -> Option<Kind> {
    let number = (bits >> KIND_AT) & 0xf;
    Kind::ALL.into_iter().find(|kind| bits & 1 == 1 && *kind as usize == number)
}

/// Gives an object out to C.
pub(crate) fn put<T: Object>(object: T) -> Result<*mut T::Handle, Error> {
    let bits = OBJECTS.write().unwrap_or_else(PoisonError::into_inner).put(T::KIND, Arc::new(object));
    let bits = bits.ok_or_else(|| {
        Error::new(ErrorKind::OutOfMemory, format!("there are {MOST_OBJECTS} objects: free some of them"))
    })?;
    Ok(std::ptr::without_provenance_mut(bits))
}

/// The object of a handle.
pub(crate) fn get<T: Object>(handle: *const T::Handle) -> Result<Arc<T>, Error> {
    let bits = handle.addr();
    if bits == 0 {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("the {} is NULL", T::KIND.name())));
    }
    let found = OBJECTS.read().unwrap_or_else(PoisonError::into_inner).find(bits).map(|(_, object)| Arc::clone(object));
    found.and_then(|object| object.downcast().ok()).ok_or_else(|| stale::<T>(bits))
}

/// The object of a handle, which is a handle no longer.
pub(crate) fn take<T: Object>(handle: *mut T::Handle) -> Option<Arc<T>> {
    let bits = handle.addr();
    if kind_of(bits) != Some(T::KIND) {
        return None;
    }
    OBJECTS.write().unwrap_or_else(PoisonError::into_inner).take(bits)?.downcast().ok()
}

fn stale<T: Object>(bits: usize) -> Error {
    let wanted = T::KIND.name();
    let message = match kind_of(bits) {
        Some(kind) if kind == T::KIND => format!("this {wanted} was freed"),
        Some(kind) => format!("a {wanted} is wanted here, and this is a {}", kind.name()),
        None => format!("this is no {wanted}: it was not given out by Tenon"),
    };
    Error::new(ErrorKind::StaleHandle, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Text(&'static str);
    struct Other;

    impl Object for Text {
        const KIND: Kind = Kind::Table;
        type Handle = u8;
    }

    impl Object for Other {
        const KIND: Kind = Kind::Result;
        type Handle = u8;
    }

    fn kind<T: Object>(handle: *const T::Handle) -> ErrorKind {
        get::<T>(handle).err().expect("a handle that is none").kind()
    }

    #[test]
    fn a_handle_finds_its_object_until_it_is_freed() {
        let handle = put(Text("a")).unwrap();
        assert_eq!(get::<Text>(handle).unwrap().0, "a");
        assert_eq!(handle.addr() & 1, 1);
        assert!(take::<Text>(handle).is_some());
        assert_eq!(kind::<Text>(handle), ErrorKind::StaleHandle);
        assert!(take::<Text>(handle).is_none(), "a second free does nothing");
    }

    #[test]
    fn a_place_that_is_used_again_has_another_handle() {
        let mut objects = Objects { places: Vec::new(), free: Vec::new() };
        let first = objects.put(Kind::Table, Arc::new(1)).unwrap();
        assert!(objects.take(first).is_some());
        let second = objects.put(Kind::Table, Arc::new(2)).unwrap();
        assert_eq!(index_of(first), index_of(second));
        assert!(objects.find(first).is_none() && objects.find(second).is_some());
    }

    #[test]
    fn a_place_is_given_up_after_its_last_generation() {
        let mut objects = Objects { places: Vec::new(), free: Vec::new() };
        let first = objects.put(Kind::Table, Arc::new(1)).unwrap();
        objects.take(first).unwrap();
        objects.places[0].generation = LAST_GENERATION;
        let last = objects.put(Kind::Table, Arc::new(2)).unwrap();
        assert!(objects.take(last).is_some());
        let next = objects.put(Kind::Table, Arc::new(3)).unwrap();
        assert_ne!(index_of(next), index_of(last));
    }

    #[test]
    fn handles_of_another_kind_and_numbers_that_are_none_are_refused() {
        let handle = put(Text("a")).unwrap();
        assert_eq!(kind::<Other>(handle), ErrorKind::StaleHandle);
        assert!(take::<Other>(handle).is_none());
        assert_eq!(kind::<Text>(std::ptr::null()), ErrorKind::InvalidArgument);
        for bits in [1, 2, 0x1000, usize::MAX, handle.addr() ^ 1, handle.addr() + 32] {
            assert_eq!(kind::<Text>(std::ptr::without_provenance(bits)), ErrorKind::StaleHandle, "{bits:#x}");
        }
        take::<Text>(handle);
    }
}
