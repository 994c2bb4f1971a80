//! Who makes whom: how a tree of processes comes into being again with its parents, sessions and process groups.
//!
//! A session is made by its leader (setsid(2)) and passed on by a fork, so that each process is cloned at a time, and by a
//! process, that give it the right one:
//!
//! ```text
//! its own session             by its parent; then setsid
//! that of its parent          by its parent, after the parent's own setsid
//! the one its parent had      by its parent, before the parent's setsid
//!   before that
//! that of a sibling           by the sibling (CLONE_PARENT)
//! one whose leader has ended  by a stand-in with the leader's pid, a passing child of its parent (CLONE_PARENT)
//! that of a process further   by a passing child of that process, which ends at once: its parent adopts it
//!   below its parent            (PR_SET_CHILD_SUBREAPER)
//! the restorer's              as any other: the root is born into it
//! ```
//!
//! The last but one is how such a tree comes about in life, too: whoever made the process has ended.
//!
//! Process groups follow when all are there: leaders first, then members; one whose leader has ended gets a passing leader.
//! What can be made is known at the checkpoint already, and what cannot is refused there.

use std::collections::{BTreeMap, BTreeSet};

/// A process as far as its ties go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its pid.
    pub pid: i32,
    /// Its parent; of the root: whatever it is.
    pub ppid: i32,
    /// Its process group.
    pub pgid: i32,
    /// Its session.
    pub sid: i32,
}

/// Who clones a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The restorer: it is the root.
    Restorer,
    /// Its parent.
    Parent(i32),
    /// A process with the same parent.
    Sibling(i32),
    /// A passing child of this one: when that ends, the parent adopts what it has made.
    Adopted {
        /// Whose child passes.
        host: i32,
        /// The parent, from which the host descends.
        parent: i32,
    },
}

/// What comes into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    /// Its pid.
    pub pid: i32,
    /// Who clones it.
    pub maker: Maker,
    /// Whether its parent must not have called setsid(2) yet.
    pub before_setsid: bool,
    /// It stands in for the leader of a session that has ended, and ends again.
    pub stand_in: bool,
}

/// What a process does about its group when all are there, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// It makes one (`setpgid(0, 0)`).
    Lead(i32),
    /// It has a passing child make one with this pid.
    LeadByChild(i32, i32),
    /// It joins one.
    Join(i32, i32),
}

/// How a tree comes into being.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ties {
    /// Births in order: of the root first.
    pub births: Vec<Birth>,
    /// Those that lead their session.
    pub session_leaders: BTreeSet<i32>,
    /// Groups, in the order in which they are made.
    pub groupings: Vec<Grouping>,
}

impl Ties {
    /// Of a tree, root first. `Err` holds a sentence for each process that cannot be placed, with its pid.
    pub fn of(members: &[Member]) -> Result<Self, Vec<(i32, String)>> {
        let Some(root) = members.first() else { return Ok(Self::default()) };
        let mut planner = Planner {
            by_pid: members.iter().map(|member| (member.pid, *member)).collect(),
            children: BTreeMap::new(),
            outer: (root.sid != root.pid).then_some(root.sid),
            orphans: Vec::new(),
            ties: Self::default(),
            problems: Vec::new(),
        };
        for member in &members[1..] {
            planner.children.entry(member.ppid).or_default().push(*member);
        }
        planner.ties.session_leaders =
            members.iter().filter(|member| member.sid == member.pid).map(|member| member.pid).collect();
        planner.birth(root, Maker::Restorer, BeforeSetsid(false));
        planner.family(root, planner.outer);
        planner.adopt();
        planner.groups(members);
        let placed = planner.ties.births.iter().map(|birth| birth.pid).collect::<BTreeSet<_>>();
        for lost in members.iter().filter(|member| !placed.contains(&member.pid)) {
            if !planner.problems.iter().any(|(pid, _)| *pid == lost.pid) {
                planner.problems.push((lost.pid, "it descends from one that cannot be made again".into()));
            }
        }
        if planner.problems.is_empty() { Ok(planner.ties) } else { Err(planner.problems) }
    }

    /// The process that another one's memory comes from when it is cloned: whoever clones it, or whom that one came from if
    /// it only stands in.
    pub fn donor(&self, pid: i32) -> Option<i32> {
        let maker = |pid: i32| self.births.iter().find(|birth| birth.pid == pid);
        let maker_pid = |birth: &Birth| match birth.maker {
            Maker::Restorer => None,
            Maker::Parent(maker) | Maker::Sibling(maker) | Maker::Adopted { host: maker, .. } => Some(maker),
        };
        let by = maker(maker_pid(maker(pid)?)?)?;
        if by.stand_in { maker_pid(by) } else { Some(by.pid) }
    }

    /// The process that another one can share memory or descriptors with: whoever clones it, unless that only stands in.
    pub fn maker(&self, pid: i32) -> Option<i32> {
        let birth = self.births.iter().find(|birth| birth.pid == pid)?;
        let maker = match birth.maker {
            Maker::Restorer | Maker::Adopted { .. } => return None,
            Maker::Parent(maker) | Maker::Sibling(maker) => maker,
        };
        let stands_in = self.births.iter().any(|birth| birth.pid == maker && birth.stand_in);
        (!stands_in).then_some(maker)
    }

    /// Pids that stand-ins and passing children need.
    pub fn passing_pids(&self) -> impl Iterator<Item = i32> {
        let stand_ins = self.births.iter().filter(|birth| birth.stand_in).map(|birth| birth.pid);
        let leaders = self.groupings.iter().filter_map(|grouping| match grouping {
            Grouping::LeadByChild(_, pid) => Some(*pid),
            Grouping::Lead(_) | Grouping::Join(..) => None,
        });
        stand_ins.chain(leaders)
    }
}

/// More of those that are adopted than any program has.
const ORPHANS_MAX: usize = 1000;

#[derive(Clone, Copy)]
struct BeforeSetsid(bool);

/// A process whose session is led, or was joined, further below its parent.
#[derive(Clone, Copy)]
struct Orphan {
    child: Member,
    parent: i32,
    /// The session that it is born into.
    session: i32,
}

struct Planner {
    by_pid: BTreeMap<i32, Member>,
    children: BTreeMap<i32, Vec<Member>>,
    /// The session of the root, if it is one that somebody outside leads.
    outer: Option<i32>,
    /// Those whose session is led by none beside them.
    orphans: Vec<Orphan>,
    ties: Ties,
    problems: Vec<(i32, String)>,
}

impl Planner {
    fn birth(&mut self, member: &Member, maker: Maker, BeforeSetsid(before_setsid): BeforeSetsid) {
        self.ties.births.push(Birth { pid: member.pid, maker, before_setsid, stand_in: false });
    }

    /// Births of the descendants of a process that was born into session `born_into`. Without recursion: trees are as
    /// deep as a hostile image likes.
    fn family(&mut self, root: &Member, born_into: Option<i32>) {
        let mut parents = vec![(*root, born_into)];
        while let Some((parent, born_into)) = parents.pop() {
            let children = self.children.remove(&parent.pid).unwrap_or_default();
            let mut born = self.children_of(&parent, born_into, &children);
            born.reverse();
            parents.extend(born);
        }
    }

    /// Births of the children of a process. Tells which session each was born into.
    fn children_of(
        &mut self,
        parent: &Member,
        born_into: Option<i32>,
        children: &[Member],
    ) -> Vec<(Member, Option<i32>)> {
        let mut born = Vec::new();
        let leads = parent.sid == parent.pid;
        let born_in = |child: &Member, planner: &Self| {
            if child.sid == child.pid { planner.wanted_by_children(child, parent) } else { child.sid }
        };
        let is_early = |child: &Member, planner: &Self| {
            let wanted = born_in(child, planner);
            leads && wanted != parent.sid && Some(wanted) == born_into
        };
        let (early, late): (Vec<Member>, Vec<Member>) =
            children.iter().partition(|child| is_early(child, self));
        for child in early {
            self.birth(&child, Maker::Parent(parent.pid), BeforeSetsid(true));
            born.push((child, born_into));
        }
        let (own, others): (Vec<Member>, Vec<Member>) =
            late.into_iter().partition(|child| born_in(child, self) == parent.sid);
        for child in own {
            self.birth(&child, Maker::Parent(parent.pid), BeforeSetsid(false));
            born.push((child, Some(parent.sid)));
        }
        for child in others {
            let session = born_in(&child, self);
            if self.by_sibling(&child, parent, session) {
                born.push((child, Some(session)));
            }
        }
        born
    }

    /// The session that a leader must have been born into for a child of its own, or its parent's.
    fn wanted_by_children(&self, leader: &Member, parent: &Member) -> i32 {
        let children = self.children.get(&leader.pid).into_iter().flatten();
        let of_children = children.filter(|child| child.sid != child.pid).map(|child| child.sid);
        let mut foreign = of_children.filter(|sid| *sid != leader.pid && *sid != parent.sid);
        foreign.next().unwrap_or(parent.sid)
    }

    /// The birth of one that is born into a session which is not its parent's; if it is not possible yet, it is put off.
    fn by_sibling(&mut self, child: &Member, parent: &Member, session: i32) -> bool {
        let leader = self.by_pid.get(&session).copied();
        let birth = self.ties.births.iter().find(|birth| birth.pid == session).copied();
        match (leader, birth) {
            (Some(leader), Some(_)) if leader.ppid == parent.pid => {}
            (None, Some(stand_in)) if stand_in.maker == Maker::Parent(parent.pid) => {}
            (None, None) if self.outer != Some(session) && !self.is_joined_below(session, parent.pid) => {
                let maker = Maker::Parent(parent.pid);
                let birth = Birth { pid: session, maker, before_setsid: false, stand_in: true };
                self.ties.births.push(birth);
                self.ties.session_leaders.insert(session);
            }
            _ => {
                self.orphans.push(Orphan { child: *child, parent: parent.pid, session });
                return false;
            }
        }
        self.birth(child, Maker::Sibling(session), BeforeSetsid(false));
        true
    }

    /// Whether a session has members with another parent that descends from this one, and has never been in that session:
    /// whoever stands in for its leader is that one's child. (A parent that leads a session can have been in another before.)
    fn is_joined_below(&self, session: i32, parent: i32) -> bool {
        let members = self.by_pid.values().filter(|member| member.sid == session);
        let mut parents = members.filter_map(|member| self.by_pid.get(&member.ppid));
        parents
            .any(|below| below.sid != session && below.sid != below.pid && self.is_above(parent, below.pid))
    }

    /// Whether a process descends from another one. The root's parent is none of the tree, whatever it is said to be.
    fn is_above(&self, above: i32, pid: i32) -> bool {
        let parent_of = |pid: &i32| {
            let is_root = self.ties.births.first().is_some_and(|root| root.pid == *pid);
            self.by_pid.get(pid).map(|member| member.ppid).filter(|_| !is_root)
        };
        // As many steps as there are members at most: those of a hostile image may go round in circles.
        let up = std::iter::successors(parent_of(&pid), parent_of);
        up.take(self.by_pid.len()).any(|ancestor| ancestor == above)
    }

    /// Births of those that were put off, each with its descendants, as long as one makes another possible.
    fn adopt(&mut self) {
        let mut looks = 0;
        while let Some((place, maker)) = self.adoptable() {
            let Orphan { child, session, .. } = self.orphans.remove(place);
            self.birth(&child, maker, BeforeSetsid(false));
            self.family(&child, Some(session));
            looks += 1;
            if looks > ORPHANS_MAX {
                break; // no program has so many, and each takes a look at all
            }
        }
        for Orphan { child, session, .. } in std::mem::take(&mut self.orphans) {
            let why = format!(
                "the session {session} that it comes from is neither its parent's nor led by a process beside or below it"
            );
            self.problems.push((child.pid, why));
        }
    }

    /// One of those that were put off, by its place, and who can make it now.
    fn adoptable(&self) -> Option<(usize, Maker)> {
        let root = self.ties.births.first().map(|root| root.pid);
        self.orphans.iter().enumerate().find_map(|(place, Orphan { parent, session, .. })| {
            let mut members =
                self.ties.births.iter().filter_map(|birth| match (birth.stand_in, birth.maker) {
                    (true, Maker::Parent(parent)) if birth.pid == *session => Some((birth.pid, parent)),
                    (true, _) => None,
                    (false, _) => {
                        let member = self.by_pid.get(&birth.pid).filter(|member| member.sid == *session)?;
                        Some((member.pid, member.ppid))
                    }
                });
            let maker = members.find_map(|(pid, ppid)| match ppid {
                _ if Some(pid) == root => None,
                ppid if ppid == *parent => Some(Maker::Sibling(pid)),
                ppid => self.is_above(*parent, ppid).then_some(Maker::Adopted { host: pid, parent: *parent }),
            })?;
            Some((place, maker))
        })
    }

    fn groups(&mut self, members: &[Member]) {
        let outer = members.first().filter(|root| root.pgid != root.pid).map(|root| root.pgid);
        let mut led: BTreeSet<i32> = self.ties.session_leaders.clone();
        for member in members.iter().filter(|member| member.pgid == member.pid && member.sid != member.pid) {
            self.ties.groupings.push(Grouping::Lead(member.pid));
            led.insert(member.pid);
        }
        for member in members.iter().filter(|member| member.pgid != member.pid) {
            if led.insert(member.pgid) {
                if Some(member.pgid) == outer {
                    led.remove(&member.pgid);
                    continue;
                }
                if self.by_pid.contains_key(&member.pgid) {
                    let why = format!("process {} no longer leads its group {}", member.pgid, member.pgid);
                    self.problems.push((member.pid, why));
                    continue;
                }
                self.ties.groupings.push(Grouping::LeadByChild(member.pid, member.pgid));
            }
            self.ties.groupings.push(Grouping::Join(member.pid, member.pgid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn member(pid: i32, ppid: i32, pgid: i32, sid: i32) -> Member {
        Member { pid, ppid, pgid, sid }
    }

    fn births(members: &[Member]) -> Vec<(i32, Maker)> {
        let ties = Ties::of(members).unwrap_or_default();
        ties.births.iter().map(|birth| (birth.pid, birth.maker)).collect()
    }

    #[test]
    fn a_job_of_a_shell() {
        let tree = [member(10, 1, 10, 5), member(11, 10, 10, 5), member(12, 10, 10, 5)];
        let ties = Ties::of(&tree).unwrap_or_default();
        assert_eq!(births(&tree), [(10, Maker::Restorer), (11, Maker::Parent(10)), (12, Maker::Parent(10))]);
        assert_eq!(ties.groupings, [Grouping::Lead(10), Grouping::Join(11, 10), Grouping::Join(12, 10)]);
        assert_eq!(ties.session_leaders.len(), 0);
    }

    #[test]
    fn children_from_before_and_after_their_parents_setsid() {
        // 20 was in session 10 when it made 21, and leads its own when it makes 22.
        let tree =
            [member(10, 1, 10, 10), member(20, 10, 20, 20), member(21, 20, 10, 10), member(22, 20, 20, 20)];
        let ties = Ties::of(&tree).unwrap_or_default();
        let before: Vec<(i32, bool)> =
            ties.births.iter().map(|birth| (birth.pid, birth.before_setsid)).collect();
        assert_eq!(before, [(10, false), (20, false), (21, true), (22, false)]);
    }

    #[test]
    fn a_daemon_whose_session_leader_has_ended() {
        let tree = [member(10, 1, 10, 10), member(31, 10, 30, 30), member(32, 10, 30, 30)];
        let ties = Ties::of(&tree).unwrap_or_default();
        let stand_ins: Vec<i32> = ties.passing_pids().collect();
        assert_eq!(stand_ins, [30]);
        assert_eq!(
            births(&tree),
            [
                (10, Maker::Restorer),
                (30, Maker::Parent(10)),
                (31, Maker::Sibling(30)),
                (32, Maker::Sibling(30))
            ]
        );
    }

    #[test]
    fn a_group_whose_leader_has_ended() {
        let tree = [member(10, 1, 10, 5), member(12, 10, 11, 5), member(13, 10, 11, 5)];
        let ties = Ties::of(&tree).unwrap_or_default();
        assert_eq!(
            ties.groupings,
            [
                Grouping::Lead(10),
                Grouping::LeadByChild(12, 11),
                Grouping::Join(12, 11),
                Grouping::Join(13, 11)
            ]
        );
    }

    #[test]
    fn a_leader_that_came_from_the_session_of_one_that_has_ended() {
        // 32 was in session 30 when it made 33, then led one of its own; 30 has ended.
        let tree =
            [member(10, 1, 10, 10), member(31, 10, 30, 30), member(32, 10, 32, 32), member(33, 32, 30, 30)];
        let ties = Ties::of(&tree).unwrap_or_default();
        assert_eq!(ties.passing_pids().collect::<Vec<_>>(), [30]);
        assert_eq!(
            births(&tree),
            [
                (10, Maker::Restorer),
                (30, Maker::Parent(10)),
                (31, Maker::Sibling(30)),
                (32, Maker::Sibling(30)),
                (33, Maker::Parent(32))
            ]
        );
        assert!(ties.births.iter().any(|birth| birth.pid == 33 && birth.before_setsid));
    }

    #[test]
    fn a_dead_session_with_members_of_two_parents() {
        let tree =
            [member(10, 1, 10, 10), member(31, 10, 30, 30), member(32, 10, 10, 10), member(33, 32, 30, 30)];
        assert_eq!(
            births(&tree),
            [
                (10, Maker::Restorer),
                (32, Maker::Parent(10)),
                (30, Maker::Parent(32)),
                (33, Maker::Sibling(30)),
                (31, Maker::Adopted { host: 30, parent: 10 })
            ]
        );
    }

    #[test]
    fn one_that_was_adopted_from_a_session_below() {
        let tree = [
            member(10, 1, 10, 10),
            member(20, 10, 20, 20),
            member(21, 20, 21, 21),
            member(30, 10, 30, 21),
            member(31, 30, 30, 21),
        ];
        let last = [(30, Maker::Adopted { host: 21, parent: 10 }), (31, Maker::Parent(30))];
        assert_eq!(births(&tree)[3..], last);
        // What it is made by is not its donor of anything but memory.
        let ties = Ties::of(&tree).unwrap_or_default();
        assert_eq!((ties.donor(30), ties.maker(30)), (Some(21), None));
    }

    #[test]
    fn a_session_that_cannot_be_made_is_told() {
        // Led by a process above it, which its parent has never been in.
        let tree =
            [member(10, 1, 10, 10), member(20, 10, 20, 20), member(21, 20, 20, 20), member(22, 21, 10, 10)];
        assert_eq!(Ties::of(&tree).err().map(|problems| problems[0].0), Some(22));
    }
}
