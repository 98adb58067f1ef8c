//! Values that are too large for one message: cut into chunks on their way in, read chunk by chunk
//! on their way out.
//!
//! Each chunk is a content with a home of its own, like any other; what makes them one value is the
//! list that stands under the whole value's digest (see FORMAT.md). A key links to it as to any blob.
//!
//! # The order of steps, and what a crash leaves
//!
//! | step | a crash behind it leaves |
//! |---|---|
//! | the chunks, each held (see `dedup`) | contents without references, which the sweep finds |
//! | a reference of the list to each chunk | references whose list is not there: stale, dropped by the sweep |
//! | the list, with the key's reference to it | a list that no key names: its reference is stale |
//! | the key's record | the value |
//!
//! So there may be a reference too many and never one too few, and nothing is visible before the last
//! step. The name of the list's references is registered as open before the first of them, as with
//! every put. When a list goes, its references go behind it; what a crash leaves there is stale too.
//!
//! # What cannot happen
//!
//! A chunk that was seen to be there is not reclaimed before the list refers to it: who stores or
//! finds it holds it, and a reclaim has the content's turn and looks for holders first. References are
//! made by the actor of the chunk's home, which refuses one to a content that is not there; a put by
//! a list of chunks is refused then, and its client sends what is missing. A new list for a content
//! whose old list is on its way out has references by another name, which the old one's end leaves
//! alone.

mod blocks;
mod content;
mod download;
mod intake;
mod list;
mod pieces;
mod upload;
mod whole;

pub use content::ContentDone;
pub use download::Download;
pub use intake::{Intake, Taken};
pub(super) use list::Naming;
pub use pieces::Pieces;
pub use upload::{Upload, UploadDone};
pub(super) use whole::{Whole, needs_download};
