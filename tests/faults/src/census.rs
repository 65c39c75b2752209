//! What this process holds of the system: descriptors, threads, memory files, children.

use std::collections::BTreeMap;
use std::fs;

/// A count of everything that could leak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Open descriptors, by what they lead to.
    pub descriptors: BTreeMap<String, usize>,
    /// Threads.
    pub threads: usize,
    /// Mappings of memory files.
    pub mappings: usize,
    /// Children that run.
    pub children: usize,
    /// Children that ended and were not reaped.
    pub zombies: usize,
}

impl Census {
    /// Counts now.
    pub fn take() -> Self {
        let children = children();
        let zombies = children.iter().filter(|child| child.zombie).count();
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Self {
            descriptors: descriptors(),
            threads: fs::read_dir("/proc/self/task").map_or(0, Iterator::count),
            mappings: maps.lines().filter(|line| line.contains("/memfd:")).count(),
            children: children.len() - zombies,
            zombies,
        }
    }

    /// How many descriptors are open.
    pub fn open(&self) -> usize {
        self.descriptors.values().sum()
    }

    /// What is there now and was not before, as a sentence; empty when nothing is.
    pub fn more_than(&self, before: &Self) -> String {
        let figures = [
            ("descriptors", self.open(), before.open()),
            ("threads", self.threads, before.threads),
            ("memory files mapped", self.mappings, before.mappings),
            ("children", self.children, before.children),
            ("zombies", self.zombies, before.zombies),
        ];
        let more = figures.iter().filter(|(_, now, then)| now > then);
        let mut words: Vec<String> = more.map(|(what, now, then)| format!("{what}: {now} after {then}")).collect();
        for (kind, count) in &self.descriptors {
            let then = before.descriptors.get(kind).copied().unwrap_or(0);
            if *count > then {
                words.push(format!("{kind}: {count} after {then}"));
            }
        }
        words.join(", ")
    }
}

/// Descriptors by kind: `socket`, `pipe`, `anon_inode:[pidfd]`, `/memfd:tenon-samples (deleted)`, a path.
fn descriptors() -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        // The descriptor of this walk is gone when it is looked at.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        if target.starts_with("/proc/") && target.ends_with("/fd") {
            continue;
        }
        let kind = target.split(":[").next().unwrap_or_default().to_owned();
        *kinds.entry(kind).or_insert(0) += 1;
    }
    kinds
}

/// A child of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its process id.
    pub pid: u32,
    /// The file name of its program, its first 15 bytes.
    pub program: String,
    /// Whether it has ended.
    pub zombie: bool,
}

/// The children of this process, by process id.
pub fn children() -> Vec<Child> {
    let mut children: Vec<Child> = pids().into_iter().filter_map(child).collect();
    children.sort_by_key(|child| child.pid);
    children
}

fn pids() -> Vec<u32> {
    let tasks: Vec<_> = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().collect();
    let lists: Option<Vec<String>> =
        tasks.iter().map(|task| fs::read_to_string(task.path().join("children")).ok()).collect();
    let numbers = |text: &str| text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>();
    match lists {
        Some(lists) => lists.iter().flat_map(|list| numbers(list)).collect(),
        // A thread ended meanwhile, or the kernel has no such list.
        None => {
            let all = fs::read_dir("/proc").into_iter().flatten().flatten();
            all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        }
    }
}

/// The process, if it is a child of this one.
fn child(pid: u32) -> Option<Child> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold some itself.
    let (front, rest) = stat.rsplit_once(") ")?;
    let (_, program) = front.split_once(" (")?;
    let mut fields = rest.split(' ');
    let zombie = matches!(fields.next()?, "Z" | "X");
    (fields.next()?.parse() == Ok(std::process::id())).then(|| Child { pid, program: program.to_owned(), zombie })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_is_seen_running_and_as_a_zombie_and_then_no_more() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let find = || children().into_iter().find(|one| one.pid == pid);
        while find().unwrap().program != "sleep" {
            std::thread::yield_now();
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::KILL).unwrap();
        while !find().unwrap().zombie {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(find(), None);
    }

    #[test]
    fn what_is_more_is_named() {
        let before = Census::take();
        let (_reader, _writer) = std::io::pipe().unwrap();
        let more = Census::take().more_than(&before);
        assert!(more.contains("descriptors: ") && more.contains("pipe: "), "{more}");
        assert_eq!(before.more_than(&before), "");
    }
}
