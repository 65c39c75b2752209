//! Load-time witness of the plugin contract's layout, for plugins written in Rust.
//!
//! The contract is plain C and a plugin is called through plain C tables. A plugin built with `tenon-plugin` exports one
//! static more, [`SYMBOL`]: abi_stable's description of every frozen struct as *that build* of `tenon-abi` has it. The
//! host compares it with its own before it calls the entry, so a field that was moved, retyped or renamed is refused
//! with words instead of being misread. Plugins in C and C++ have no such static and are accepted without it.
//!
//! abi_stable neither opens the library nor calls through it here; its root module is never loaded.
//!
//! For the host, after `dlopen` and before the entry:
//! ```text
//! let witness = match library.get::<*const c_void>(tenon_witness::SYMBOL.as_bytes()) {
//!     // With libloading, the address of the static is `symbol.try_as_raw_ptr()`.
//!     Ok(symbol) => unsafe { tenon_witness::check(address)? },
//!     Err(_) => Witness::Absent("the plugin exports none".into()),
//! };
//! ```

mod check;
mod mirror;

pub use check::{Witness, check};
pub use mirror::{Contract, RootRef};

/// Name of the static that a Rust plugin exports: abi_stable's own name for it.
pub const SYMBOL: &str = abi_stable::library::ROOT_MODULE_LOADER_NAME;

/// What [`export_witness!`] expands to. Not for use by hand.
#[doc(hidden)]
pub mod export {
    pub use crate::check::header;
    pub use abi_stable::library::LibHeader;
}

/// Exports the witness of this build from a `cdylib`.
#[macro_export]
macro_rules! export_witness {
    () => {
        const _: () = {
            /// The witness of the contract's layout.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static WITNESS: $crate::export::LibHeader = $crate::export::header();
        };
    };
}
