//! What the build cache takes on disk, and making it less: `builder du`, `builder prune`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use spec::Filters;
use spec::api::BuildCache;
use store::{ChainId, Needed};
use sys::file;
use sys::root::{Root, TooDeep};

use crate::Host;
use crate::cache::{self, Cache, Layer, Record};
use crate::error::{Error, Result};

/// One thing in the cache: a layer, a tree, a cache mount, what is known of clients' directories, a record of a step that
/// changed no file.
#[derive(Debug)]
struct Item {
    about: BuildCache,
    used: SystemTime,
    created: SystemTime,
    /// Records that go with it.
    records: Vec<PathBuf>,
    /// Its own directory or file, if it is not a layer.
    path: Option<PathBuf>,
    /// Bytes of its layer and blob.
    in_store: u64,
}

/// What the cache takes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// The last used first.
    pub items: Vec<BuildCache>,
    /// Bytes of it that are layers and blobs of the store.
    pub in_store: u64,
}

/// What is in the cache. What images need, too, is theirs and counts nothing here.
///
/// # Errors
/// A file error.
pub fn usage(host: &Host, needed: &Needed) -> Result<Usage> {
    let items = items(host, needed)?;
    let in_store = items.iter().map(|item| item.in_store).sum();
    Ok(Usage { items: items.into_iter().map(|item| item.about).collect(), in_store })
}

fn items(host: &Host, needed: &Needed) -> Result<Vec<Item>> {
    let records = Cache::new(&host.cache).with_paths()?;
    let mut layers: HashMap<ChainId, Item> = HashMap::new();
    let mut trees: HashMap<String, Item> = HashMap::new();
    let mut others: Vec<Item> = Vec::new();
    let mut blobs = HashSet::new();
    for (path, record) in records {
        let metadata = path.metadata().ok();
        let used = metadata.as_ref().and_then(|m| m.modified().ok()).unwrap_or(SystemTime::UNIX_EPOCH);
        let disk = metadata.as_ref().map_or(0, disk);
        let item = match (&record.layer, &record.tree) {
            (Some(layer), _) => layers.entry(layer.chain).or_insert_with(|| {
                let own = !needed.layers.contains(&layer.chain);
                let size = if own { host.store.layer_disk(&layer.chain).unwrap_or(0) } else { 0 };
                let mut item = Item::new(layer.chain.0.to_string(), "regular", &record, size);
                item.in_store = size;
                item.about.shared = !own;
                item
            }),
            (None, Some(tree)) => trees.entry(tree.clone()).or_insert_with(|| {
                let path = host.cache.join(tree);
                // A commit's id is one of SHA-1.
                let kind = if record.source.len() == 40 { "source.git.checkout" } else { "source.local" };
                let id = tree.rsplit('/').next().unwrap_or_default().to_owned();
                let mut item = Item::new(id, kind, &record, below(&path));
                item.path = Some(path);
                item
            }),
            (None, None) => {
                let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                others.push(Item::new(id, "internal", &record, 0));
                let last = others.len() - 1;
                &mut others[last]
            }
        };
        item.about.size += i64::try_from(disk).unwrap_or(0);
        // One blob may be in several stacks, and one layer have several: it can be compressed in many ways.
        if let Some(Layer { blob, .. }) = &record.layer
            && !needed.blobs.contains(&blob.digest)
            && blobs.insert(blob.digest)
        {
            let size = host.store.blob_disk(&blob.digest).unwrap_or(0);
            item.in_store += size;
            item.about.size += i64::try_from(size).unwrap_or(0);
        }
        item.about.usage_count += 1;
        item.used = item.used.max(used);
        item.records.push(path);
    }
    let mut items: Vec<Item> = layers.into_values().chain(trees.into_values()).chain(others).collect();
    for (dir, kind, description) in [
        (cache::mounts(&host.cache), "exec.cachemount", "cached mount"),
        (cache::contexts(&host.cache), "source.local", "a context from elsewhere"),
        (cache::indexes(&host.cache), "source.local", "digests of a context's files"),
    ] {
        for name in file::list(&dir)? {
            let path = dir.join(&name);
            let used = path.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let record = Record { name: description.into(), ..Record::default() };
            let mut item = Item::new(name, kind, &record, below(&path));
            item.about.in_use = host.work.is_used(&path);
            (item.used, item.created) = (used, used);
            item.path = Some(path);
            items.push(item);
        }
    }
    // Directories of records, and whatever else is there: what is told is what `du` says.
    let own = |item: &Item| match &item.path {
        Some(path) => below(path),
        None => item.records.iter().map(|path| path.metadata().as_ref().map_or(0, disk)).sum(),
    };
    let of_records: u64 = items
        .iter()
        .filter(|item| item.path.is_some())
        .flat_map(|item| &item.records)
        .map(|path| path.metadata().as_ref().map_or(0, disk))
        .sum();
    let told: u64 = items.iter().map(own).sum::<u64>() + of_records;
    let rest = below(&host.cache).saturating_sub(told);
    items.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.about.id.cmp(&b.about.id)));
    if rest > 0 {
        let record = Record { name: "the cache's own directories".into(), ..Record::default() };
        let mut item = Item::new("cache".into(), "internal", &record, rest);
        item.about.in_use = true;
        // As a directory of records changes with each of them.
        let used = host.cache.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        (item.used, item.created) = (used, used);
        items.push(item);
    }
    for item in &mut items {
        item.about.created_at = text(item.created);
        item.about.last_used_at = Some(text(item.used));
    }
    Ok(items)
}

impl Item {
    fn new(id: String, kind: &str, record: &Record, size: u64) -> Self {
        let created = record.created.parse().map_or(SystemTime::UNIX_EPOCH, moment);
        Self {
            about: BuildCache {
                id,
                r#type: kind.into(),
                description: record.name.clone(),
                size: i64::try_from(size).unwrap_or(i64::MAX),
                ..BuildCache::default()
            },
            used: SystemTime::UNIX_EPOCH,
            created,
            records: Vec::new(),
            path: None,
            in_store: 0,
        }
    }
}

/// What to forget.
#[derive(Debug, Clone, Default)]
pub struct Prune {
    /// Also what images hold, and sources.
    pub all: bool,
    /// Bytes that stay.
    pub reserved: u64,
    /// The most bytes that stay; 0 says nothing.
    pub most: u64,
    /// As much goes as it takes for these bytes to be free on the disk.
    pub free: u64,
    /// `until`, `id`, `type`, `description`, `inuse`, `shared`.
    pub filters: Filters,
}

impl Prune {
    /// How many of `total` bytes stay; `None` when nothing is said of it.
    fn keep(&self, total: u64, free: u64) -> Option<u64> {
        if (self.reserved, self.most, self.free) == (0, 0, 0) {
            return None;
        }
        let mut keep = self.most;
        if let Some(missing) = self.free.checked_sub(free).filter(|missing| *missing > 0) {
            let rest = total.saturating_sub(missing);
            keep = if keep == 0 { rest } else { keep.min(rest) };
        } else if self.most == 0 && self.free > 0 {
            // Enough is free already.
            keep = total;
        }
        Some(keep.max(self.reserved))
    }
}

/// Forgets what the wish covers, the least recently used first; the store's collector then frees what only they held.
/// Returns the ids.
///
/// # Errors
/// A filter that is none, or a file error.
pub fn prune(host: &Host, wish: &Prune, needed: &Needed) -> Result<Vec<String>> {
    let conditions = Conditions::read(&wish.filters)?;
    let mut items = items(host, needed)?;
    let mut total: u64 = items.iter().map(|item| u64::try_from(item.about.size).unwrap_or(0)).sum();
    let keep = wish.keep(total, host.store.space()?.free);
    items.reverse();
    let mut forgotten = Vec::new();
    for item in items {
        if keep.is_some_and(|keep| total <= keep) {
            break;
        }
        let spared = item.about.in_use || (item.about.shared && !wish.all);
        if spared || !conditions.cover(&item) {
            continue;
        }
        for record in &item.records {
            file::remove(record)?;
        }
        if let Some(path) = &item.path {
            // What is known of a directory's files is one file.
            if path.is_dir() { file::remove_tree(path)? } else { file::remove(path)? }
        }
        total = total.saturating_sub(u64::try_from(item.about.size).unwrap_or(0));
        forgotten.push(item.about.id);
    }
    sweep(host)?;
    Ok(forgotten)
}

/// Removes trees that no record names: what a killed daemon left half made.
pub(crate) fn sweep(host: &Host) -> Result<()> {
    let named: HashSet<String> = Cache::new(&host.cache).all()?.into_iter().filter_map(|r| r.tree).collect();
    let dir = cache::trees(&host.cache);
    for name in file::list(&dir)? {
        // Those of builds under way are young.
        let path = dir.join(&name);
        let age = path.metadata().and_then(|m| m.modified()).ok().and_then(|m| m.elapsed().ok());
        let old = age.is_some_and(|age| age > Duration::from_secs(3600));
        if !named.contains(&format!("trees/{name}")) && old {
            file::remove_tree(&path)?;
        }
    }
    Ok(())
}

/// The filters, read.
struct Conditions {
    until: Option<SystemTime>,
    texts: Vec<(&'static str, Vec<String>)>,
}

impl Conditions {
    fn read(filters: &Filters) -> Result<Self> {
        const KNOWN: [&str; 7] = ["until", "unused-for", "id", "type", "description", "inuse", "shared"];
        let mut until = None;
        let mut texts = Vec::new();
        for (name, values) in filters.iter() {
            let known = KNOWN.iter().find(|known| **known == name).copied();
            match known {
                Some("until" | "unused-for") => {
                    for value in values {
                        let moment = age(value).ok_or_else(|| {
                            Error::Request(format!(
                                "invalid filter 'until={value}': expected a duration (24h) or a time"
                            ))
                        })?;
                        until = Some(until.map_or(moment, |other: SystemTime| other.min(moment)));
                    }
                }
                Some(name) => texts.push((name, values.to_vec())),
                None => return Err(Error::Request(format!("invalid filter '{name}'"))),
            }
        }
        Ok(Self { until, texts })
    }

    fn cover(&self, item: &Item) -> bool {
        let about = &item.about;
        self.until.is_none_or(|until| item.used < until)
            && self.texts.iter().all(|(name, values)| {
                let actual = match *name {
                    "id" => about.id.clone(),
                    "type" => about.r#type.clone(),
                    "description" => about.description.clone(),
                    "inuse" => about.in_use.to_string(),
                    _ => about.shared.to_string(),
                };
                values
                    .iter()
                    .any(|value| *value == actual || (*name == "id" && actual.ends_with(value.as_str())))
            })
    }
}

/// A moment, or how long before now.
fn age(text: &str) -> Option<SystemTime> {
    if let Ok(nanos) = spec::duration::parse(text) {
        let ago = Duration::from_nanos(u64::try_from(nanos).ok()?);
        return SystemTime::now().checked_sub(ago);
    }
    let seconds = text.parse::<u64>().ok().map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s));
    seconds.or_else(|| text.parse().ok().map(moment))
}

fn moment(time: jiff::Timestamp) -> SystemTime {
    let seconds = u64::try_from(time.as_second()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn text(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

fn disk(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

/// Bytes on disk of a file, or of a directory and all in it; what vanishes meanwhile is nothing.
fn below(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    let mut bytes = disk(&metadata);
    if metadata.is_dir()
        && let Ok(root) = Root::open(path)
    {
        // What cannot be read is not counted.
        let _ = root.walk("", TooDeep::Skip, |visit| {
            bytes += visit.metadata.disk;
            Ok::<_, sys::Error>(())
        });
    }
    bytes
}
