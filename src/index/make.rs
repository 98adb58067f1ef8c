//! A new, empty index. It is there whole, durable and with all of its folders, or not at all, so
//! that a start may take whatever of it is missing for lost.

use super::database::{database_in, rows_of};
use super::{IndexError, IndexOptions};
use fjall::PersistMode;
use std::io::ErrorKind;
use std::path::Path;

/// Makes a database beside its place, and moves it there when all of it is durable. fjall 3.1.13
/// does not sync every folder that it makes or renames in: made in place, a power loss may take a
/// tree or its tables and leave the journal, behind whose batches fjall then begins to count anew.
pub(super) fn make(dir: &Path, options: IndexOptions) -> Result<(), IndexError> {
    let failed = |error| IndexError::from(fjall::Error::Io(error));
    let draft = dir.with_extension("new");
    for leftover in [&draft, dir] {
        match std::fs::remove_dir_all(leftover) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    drop(database_in(&draft, options)?);
    claim_number(&draft).map_err(failed)?;
    let database = database_in(&draft, options)?;
    drop(rows_of(&database, options)?);
    database.persist(PersistMode::SyncAll)?;
    drop(database);
    sync_tree(&draft).map_err(failed)?;
    std::fs::rename(&draft, dir).map_err(failed)?;
    sync(dir.parent().unwrap_or(Path::new("."))).map_err(failed)
}

/// Sees to it that the tree of the rows gets a number that no other index has. The folder of the
/// tree is named by it, and each change in a journal names it, so that tables and journals of an
/// index that was here before are never taken for this one's. fjall counts on behind the highest
/// number that it finds a folder of, and then removes a folder that it knows nothing of.
fn claim_number(draft: &Path) -> std::io::Result<()> {
    let random = getrandom::u32().map_err(std::io::Error::other)?;
    std::fs::create_dir(
        draft
            .join("keyspaces")
            .join((u64::from(random) + 1).to_string()),
    )
}

/// Syncs a folder with everything in it, the deepest first.
fn sync_tree(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            sync_tree(&entry?.path())?;
        }
    }
    sync(path)
}

fn sync(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}
