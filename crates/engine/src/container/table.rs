//! The names and ids of all containers: one map, never held over I/O or an await.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use spec::Id;

use super::Container;
use crate::Error;

/// All containers by id, and whose each name is (a create under way has its name already).
#[derive(Debug, Default)]
pub(crate) struct Table {
    inner: Mutex<Inner>,
    /// There has been a container with links (`--link`): the starts of others may concern it.
    linked: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: BTreeMap<Id, Arc<Container>>,
    by_name: HashMap<String, Id>,
}

/// A name that is held for a container being made. Dropped: free again.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    table: &'a Table,
    name: String,
    kept: bool,
}

impl Reservation<'_> {
    /// The container is made: the name stays, and the container can be found.
    pub(crate) fn keep(mut self, container: Arc<Container>) {
        self.kept = true;
        if !container.view().record.host.links.is_empty() {
            self.table.linked.store(true, Ordering::Release);
        }
        self.table.lock().by_id.insert(container.id.clone(), container);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.table.lock().by_name.remove(&self.name);
        }
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock can panic")
    }

    /// Holds `name` for the container `id`.
    pub(crate) fn reserve(&self, name: &str, id: &Id) -> Result<Reservation<'_>, Error> {
        take(&mut self.lock().by_name, name, id)?;
        Ok(Reservation { table: self, name: name.to_owned(), kept: false })
    }

    /// Gives a container a new name; the old one is free.
    pub(crate) fn rename(&self, id: &Id, old: &str, new: &str) -> Result<(), Error> {
        let mut inner = self.lock();
        take(&mut inner.by_name, new, id)?;
        inner.by_name.remove(old);
        Ok(())
    }

    /// Forgets a container and its name.
    pub(crate) fn remove(&self, id: &Id) {
        let mut inner = self.lock();
        inner.by_id.remove(id);
        inner.by_name.retain(|_, holder| holder != id);
    }

    /// Whether any container may have links.
    pub(crate) fn any_linked(&self) -> bool {
        self.linked.load(Ordering::Acquire)
    }

    /// All containers, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.lock().by_id.values().cloned().collect()
    }

    /// By full id, then by name (with or without its slash), then by a prefix of the id that only one has.
    pub(crate) fn find(&self, text: &str) -> Result<Arc<Container>, Error> {
        let none = || Error::NoSuchContainer(text.to_owned());
        if text.is_empty() {
            return Err(none());
        }
        let inner = self.lock();
        if let Some(container) = inner.by_id.get(text) {
            return Ok(container.clone());
        }
        let name = text.strip_prefix('/').unwrap_or(text);
        if let Some(container) = inner.by_name.get(name).and_then(|id| inner.by_id.get(id)) {
            return Ok(container.clone());
        }
        let mut matches = inner
            .by_id
            .range::<str, _>((Bound::Included(text), Bound::Unbounded))
            .take_while(|(id, _)| id.as_str().starts_with(text));
        match (matches.next(), matches.next()) {
            (Some((_, container)), None) => Ok(container.clone()),
            (Some(_), Some(_)) => Err(Error::AmbiguousPrefix(text.to_owned())),
            (None, _) => Err(none()),
        }
    }
}

fn take(names: &mut HashMap<String, Id>, name: &str, id: &Id) -> Result<(), Error> {
    match names.get(name) {
        Some(holder) => Err(Error::NameTaken { name: name.to_owned(), id: holder.to_string() }),
        None => {
            names.insert(name.to_owned(), id.clone());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::places::Places;
    use crate::container::record::Attachment;
    use crate::container::state::State;
    use crate::container::testing;

    fn id(first: &str) -> Id {
        Id::parse(&format!("{first:0<64}")).unwrap()
    }

    fn add(table: &Table, first: &str, name: &str) {
        let mut record = testing::record();
        record.id = id(first);
        record.name = name.into();
        let reservation = table.reserve(name, &record.id).unwrap();
        let places = Places { records: "/nowhere".into(), run: "/nowhere".into(), logs: "/nowhere".into() };
        reservation.keep(Container::new(places, record, State::default(), Attachment::default()));
    }

    #[test]
    fn found_by_id_then_name_then_unique_prefix() {
        let table = Table::default();
        add(&table, "abc1", "one");
        add(&table, "abc2", "abc");
        add(&table, "def0", "two");
        let found = |text: &str| table.find(text).map(|c| c.view().record.name.clone());
        assert_eq!(found(id("abc1").as_str()).unwrap(), "one");
        assert_eq!(found("abc").unwrap(), "abc", "a name wins over a prefix");
        assert_eq!(found("/one").unwrap(), "one");
        assert_eq!(found("de").unwrap(), "two");
        assert!(matches!(found("ab"), Err(Error::AmbiguousPrefix(_))));
        assert_eq!(found("zz").unwrap_err().to_string(), "No such container: zz");
        assert!(found("").is_err());
    }

    #[test]
    fn a_name_is_taken_until_it_is_free() {
        let table = Table::default();
        drop(table.reserve("n1", &id("1")).unwrap());
        add(&table, "2", "n1");
        let error = table.reserve("n1", &id("3")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("Conflict. The container name \"/n1\" is already in use by container \"2000")
        );
        table.rename(&id("2"), "n1", "n2").unwrap();
        drop(table.reserve("n1", &id("3")).unwrap());
        table.remove(&id("2"));
        assert!(table.find("n2").is_err());
        drop(table.reserve("n2", &id("3")).unwrap());
    }
}
