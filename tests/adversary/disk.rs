//! A disk that remembers what was synced: from the events of a recording, every state in which a
//! power loss may leave the files.
//!
//! What was synced is there. Of the writes to a file since its last sync any part may be there, in
//! any order, sector by sector. Of the names in a folder since its last sync the first few changes
//! are there, as a file system with a journal leaves them.

use crate::recording::{Event, Name};
use crate::support::Random;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// What a disk writes whole.
const SECTOR: u64 = 512;

/// What a crash leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Everything: the process died, the machine went on.
    Kept,
    /// Nothing.
    Dropped,
    /// Everything but a part of the last write.
    Torn,
    /// Any part of any write.
    Reordered,
}

impl Tail {
    pub const ALL: [Self; 4] = [Self::Kept, Self::Dropped, Self::Torn, Self::Reordered];
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, bytes: Arc<[u8]> },
    Truncate(u64),
    Extend(u64),
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(String, usize),
    Remove(String),
    Rename(String, String),
}

/// A number of the event that made it, and the change.
type Dated<T> = (usize, T);

#[derive(Debug, Clone)]
enum Node {
    File {
        synced: Content,
        since: Vec<Dated<Change>>,
    },
    Folder {
        synced: BTreeMap<String, usize>,
        since: Vec<Dated<NameChange>>,
    },
}

/// Bytes of a file. Behind those that are held it is zeros: a preallocated file is mostly that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    data: Vec<u8>,
    len: u64,
}

/// The files, relative to the folder that was recorded; `None` for a folder.
pub type Image = BTreeMap<PathBuf, Option<Content>>;

/// See the module's text.
pub struct Disk {
    nodes: Vec<Node>,
    now: usize,
    /// Which file each descriptor of the recording stands for.
    opened: BTreeMap<(usize, PathBuf), usize>,
}

fn folder() -> Node {
    Node::Folder {
        synced: BTreeMap::new(),
        since: Vec::new(),
    }
}

impl Disk {
    /// An empty folder.
    pub fn new() -> Self {
        Self {
            nodes: vec![folder()],
            now: 0,
            opened: BTreeMap::new(),
        }
    }

    /// The next event of the recording.
    pub fn happen(&mut self, event: &Event) {
        match event {
            Event::Open(name) => {
                let found = self.find(&name.path);
                let found = found.unwrap_or_else(|| panic!("no file {}", name.path.display()));
                self.opened.insert((name.at, name.path.clone()), found);
            }
            Event::Create { path, folder } => self.create(path, *folder),
            Event::Write {
                path,
                offset,
                bytes,
            } => {
                let file = self.file(path);
                let offset = match *offset {
                    u64::MAX => self.content(file, Tail::Kept, None).len,
                    offset => offset,
                };
                let bytes = bytes.clone();
                self.change(file, Change::Write { offset, bytes });
            }
            Event::Truncate { path, len } => {
                let file = self.file(path);
                self.change(file, Change::Truncate(*len));
            }
            Event::Extend { path, len } => {
                let file = self.file(path);
                self.change(file, Change::Extend(*len));
            }
            Event::Sync { path, begun } => {
                let node = self.file(path);
                self.sync(node, *begun);
            }
            Event::Rename { from, to } => {
                let (folder, from) = self.parent(from);
                let (same, to) = self.parent(to);
                assert_eq!(folder, same, "a name that moves to another folder");
                self.rename(folder, NameChange::Rename(from, to));
            }
            Event::Remove { path } => {
                let (folder, name) = self.parent(path);
                self.rename(folder, NameChange::Remove(name));
            }
        }
        self.now += 1;
    }

    fn create(&mut self, path: &Path, is_folder: bool) {
        if self.find(path).is_some() {
            return;
        }
        let (parent, name) = self.parent(path);
        let file = Node::File {
            synced: Content::default(),
            since: Vec::new(),
        };
        self.nodes.push(if is_folder { folder() } else { file });
        let added = NameChange::Add(name, self.nodes.len() - 1);
        self.rename(parent, added);
    }

    fn parent(&self, path: &Path) -> (usize, String) {
        let parent = self.find(path.parent().unwrap());
        let parent = parent.unwrap_or_else(|| panic!("no folder for {}", path.display()));
        (parent, path.file_name().unwrap().to_str().unwrap().into())
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let mut node = 0;
        for component in path.components() {
            let Component::Normal(name) = component else {
                panic!("{}", path.display());
            };
            let names = self.names(node, None);
            node = *names.get(name.to_str().unwrap())?;
        }
        Some(node)
    }

    /// The file of a descriptor: the one that had its name when it was opened.
    fn file(&self, name: &Name) -> usize {
        self.opened[&(name.at, name.path.clone())]
    }

    fn change(&mut self, file: usize, change: Change) {
        let Node::File { since, .. } = &mut self.nodes[file] else {
            panic!("a folder is written");
        };
        since.push((self.now, change));
    }

    fn rename(&mut self, folder: usize, change: NameChange) {
        let Node::Folder { since, .. } = &mut self.nodes[folder] else {
            panic!("a file is a folder");
        };
        since.push((self.now, change));
    }

    fn sync(&mut self, node: usize, begun: usize) {
        match &mut self.nodes[node] {
            Node::File { synced, since } => {
                let rest = since.partition_point(|(at, _)| *at < begun);
                for (_, change) in since.drain(..rest) {
                    apply(synced, &change);
                }
            }
            Node::Folder { synced, since } => {
                let rest = since.partition_point(|(at, _)| *at < begun);
                for (_, change) in since.drain(..rest) {
                    apply_name(synced, &change);
                }
            }
        }
    }

    /// The names in a folder; of the changes since its sync, the first so many.
    fn names(&self, node: usize, first: Option<usize>) -> BTreeMap<String, usize> {
        let Node::Folder { synced, since } = &self.nodes[node] else {
            panic!("a file is a folder");
        };
        let mut names = synced.clone();
        for (_, change) in &since[..first.unwrap_or(since.len())] {
            apply_name(&mut names, change);
        }
        names
    }

    fn content(&self, file: usize, tail: Tail, random: Option<&mut Random>) -> Content {
        let Node::File { synced, since } = &self.nodes[file] else {
            panic!("a folder is read");
        };
        let mut content = synced.clone();
        let Some(random) = random.filter(|_| tail != Tail::Kept) else {
            for (_, change) in since {
                apply(&mut content, change);
            }
            return content;
        };
        for (number, (_, change)) in since.iter().enumerate() {
            let is_last = number + 1 == since.len();
            match tail {
                Tail::Dropped => {}
                Tail::Torn if !is_last => apply(&mut content, change),
                Tail::Kept | Tail::Torn | Tail::Reordered => {
                    apply_in_part(&mut content, change, tail == Tail::Torn, random);
                }
            }
        }
        content
    }

    /// The files as a crash after the last event leaves them. `tail` says what becomes of what was
    /// not synced, for each file and folder on its own.
    pub fn image(&self, tail: impl Fn(&Path) -> Tail, random: &mut Random) -> Image {
        let mut image = Image::new();
        self.gather((0, PathBuf::new()), &tail, random, &mut image);
        image
    }

    fn gather(
        &self,
        (node, path): (usize, PathBuf),
        tail: &impl Fn(&Path) -> Tail,
        random: &mut Random,
        image: &mut Image,
    ) {
        match &self.nodes[node] {
            Node::File { .. } => {
                let content = self.content(node, tail(&path), Some(random));
                image.insert(path, Some(content));
            }
            Node::Folder { since, .. } => {
                let first = match tail(&path) {
                    Tail::Kept | Tail::Torn => since.len(),
                    Tail::Dropped => 0,
                    Tail::Reordered => random.within(0..since.len() as u64 + 1) as usize,
                };
                let names = self.names(node, Some(first));
                image.insert(path.clone(), None);
                for (name, node) in names {
                    self.gather((node, path.join(name)), tail, random, image);
                }
            }
        }
    }
}

fn apply(content: &mut Content, change: &Change) {
    match change {
        Change::Write { offset, bytes } => {
            let offset = *offset as usize;
            let end = offset + bytes.len();
            if content.data.len() < end {
                content.data.resize(end, 0);
            }
            content.data[offset..end].copy_from_slice(bytes);
            content.len = content.len.max(end as u64);
        }
        Change::Truncate(len) => {
            content.data.truncate(*len as usize);
            content.len = *len;
        }
        Change::Extend(len) => content.len = content.len.max(*len),
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Add(name, node) => {
            names.insert(name.clone(), *node);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

/// Some sectors of a write, or its beginning; all or nothing of anything else.
fn apply_in_part(content: &mut Content, change: &Change, beginning: bool, random: &mut Random) {
    let Change::Write { offset, bytes } = change else {
        if random.percent(50) {
            apply(content, change);
        }
        return;
    };
    let write = |content: &mut Content, from: u64, until: u64| {
        let bytes = &bytes[from as usize..until as usize];
        let offset = offset + from;
        let bytes = bytes.into();
        apply(content, &Change::Write { offset, bytes });
    };
    let len = bytes.len() as u64;
    if beginning {
        return write(content, 0, random.within(0..len.max(1)));
    }
    match random.within(0..3) {
        0 => {}
        1 => write(content, 0, len),
        _ => {
            let mut from = 0;
            while from < len {
                let sector_end = (offset + from) / SECTOR * SECTOR + SECTOR;
                let until = len.min(sector_end - offset);
                if random.percent(60) {
                    write(content, from, until);
                }
                from = until;
            }
        }
    }
}

/// Writes an image out, the part of it below `part`.
pub fn write_out(image: &Image, part: &Path, dir: &Path) {
    for (path, content) in image {
        let Ok(path) = path.strip_prefix(part) else {
            continue;
        };
        let path = dir.join(path);
        let Some(content) = content else {
            std::fs::create_dir_all(&path).unwrap();
            continue;
        };
        std::fs::write(&path, &content.data).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(content.len).unwrap();
    }
}

/// What is below a folder.
pub fn read_in(dir: &Path) -> Image {
    let mut image = Image::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(dir).unwrap().to_owned();
        let content = entry.file_type().is_file().then(|| {
            let data = std::fs::read(entry.path()).unwrap();
            let len = data.len() as u64;
            Content { data, len }
        });
        image.insert(path, content);
    }
    image
}

/// The same bytes, however many of the zeros at the end are held.
pub fn same(one: &Content, other: &Content) -> bool {
    let (short, long) = match one.data.len() <= other.data.len() {
        true => (one, other),
        false => (other, one),
    };
    let (begin, rest) = long.data.split_at(short.data.len());
    one.len == other.len && begin == short.data && rest.iter().all(|byte| *byte == 0)
}
