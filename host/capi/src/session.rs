//! Sessions.

use crate::boundary::{free, out, run};
use crate::error::tenon_error;
use crate::handle::{self, Kind, Object};
use crate::model::{Loaded, tenon_model};
use crate::request::{Builder, tenon_request};
use crate::result::{Given, tenon_result};
use host::{CancelToken, Error, ErrorKind, Result, Session, SessionCanceller};
use std::sync::{Mutex, MutexGuard, TryLockError};
use tenon_abi::Status;

/// A session on a model: one conversation or one audio stream, one request at a time. Another request meanwhile, on
/// whatever thread, is `TENON_E_BUSY`.
pub struct tenon_session {
    _opaque: [u8; 0],
}

/// A session in C's hands.
pub(crate) struct Open {
    session: Mutex<Session>,
    canceller: SessionCanceller,
    /// Set when the handle is freed. It stays set, so that a run which is about to start ends as well.
    freed: CancelToken,
}

impl Object for Open {
    const KIND: Kind = Kind::Session;
    type Handle = tenon_session;
}

impl Open {
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, Session>> {
        match self.session.try_lock() {
            Ok(session) => Ok(session),
            // A panic elsewhere leaves the session as the engine made it good again.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                let message = "the session is in use by another thread: wait for its end or open a second session";
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }
}

/// Opens a session. Free it with `tenon_session_free`. `TENON_E_OUT_OF_MEMORY` and what the backend says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_session_new(
    model: *const tenon_model,
    session: *mut *mut tenon_session,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(session, std::ptr::null_mut(), "session");
        run(error, || {
            let place = place?;
            let session = handle::get::<Loaded>(model)?.model.session()?;
            let canceller = session.canceller();
            *place = handle::put(Open { session: Mutex::new(session), canceller, freed: CancelToken::new() })?;
            Ok(())
        })
    }
}

/// Runs a request and waits for its result. The request may be used again. Free the result with `tenon_result_free`.
/// Every status; after an error the session can be used as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_run(
    session: *mut tenon_session,
    request: *const tenon_request,
    result: *mut *mut tenon_result,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(result, std::ptr::null_mut(), "result");
        run(error, || {
            let place = place?;
            let open = handle::get::<Open>(session)?;
            let request = handle::get::<Builder>(request)?.request()?.cancel(open.freed.clone());
            let answer = open.lock()?.run(&request)?;
            *place = handle::put(Given::new(answer))?;
            Ok(())
        })
    }
}

/// Asks the request that runs on this session now, if one does, to end with `TENON_E_CANCELLED`. Returns at once. Later
/// requests are not affected. Any thread, also a callback, any number of times.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_session_cancel(session: *const tenon_session, error: *mut *mut tenon_error) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        crate::boundary::quick(error, || {
            handle::get::<Open>(session)?.canceller.cancel();
            Ok(())
        })
    }
}

/// Makes a session as good as new: it forgets everything. `TENON_E_BUSY` while a request runs on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_session_reset(session: *mut tenon_session, error: *mut *mut tenon_error) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe { run(error, || handle::get::<Open>(session)?.lock()?.reset()) }
}

/// Frees a session. NULL does nothing. A `tenon_run` that another thread is waiting for is cancelled; a stream goes on
/// until it is freed itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_session_free(session: *mut tenon_session) {
    free::<Open>(session, |open| open.freed.cancel());
}
