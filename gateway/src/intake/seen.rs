//! Whether a record was seen before. Pure; bounded: one high-water mark per lane and a short ring of ids per subject,
//! never a growing set of ids.
//!
//! Health and ledger: an agent's lane reaches a partition in the order of its sequence (idempotent producer), so what is
//! not above the high-water mark of (topic, partition, agent, incarnation, lane) is a repetition. Sequences are spread
//! over partitions: they rise within one, with gaps.
//!
//! Alerts: known by id, because an alarm may leave the agent before the commit that numbers it, and comes again after a
//! crash with the same id and perhaps another number. An occurrence below the present one of the same incarnation is
//! old. Of another incarnation, order is not known from the alert itself, so there the mark decides.
//!
//! Evidence is not taken in here: every instance's history reads it and knows it by id. No lane's sequence is searched for
//! gaps by the gateway, because an agent numbers records before it thins them (evidence first, alerts never): what is
//! missing is counted where it is lost, by the agent's outbox and by the offsets that Kafka deleted unread.
//!
//! A known id with other content is a conflict (G5), wherever its sequence lies.

use crate::fleet::asset::Known;

/// What a record turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Not seen before.
    New,
    /// Seen, and it says the same or is older than what is remembered.
    Duplicate,
    /// Seen, and it says something else.
    Conflict,
}

fn by_id(recent: &[Known], known: &Known) -> Option<Seen> {
    let found = recent.iter().find(|k| k.id == known.id)?;
    Some(if found.content == known.content { Seen::Duplicate } else { Seen::Conflict })
}

/// Judges a health or ledger record.
pub fn by_sequence(mark: Option<u64>, sequence: u64, recent: &[Known], known: &Known) -> Seen {
    match by_id(recent, known) {
        Some(seen) => seen,
        None if mark.is_some_and(|mark| sequence <= mark) => Seen::Duplicate,
        None => Seen::New,
    }
}

/// What is remembered of an alarm when one of its alerts arrives.
#[derive(Debug, Clone, Copy)]
pub struct Remembered<'a> {
    /// Ids lately applied.
    pub recent: &'a [Known],
    /// Whether the newest alert is of the incarnation that speaks now.
    pub same_incarnation: bool,
    /// The newest alert's occurrence.
    pub occurrence: u64,
}

/// Judges an alert of `occurrence`.
pub fn by_occurrence(
    mark: Option<u64>,
    sequence: u64,
    remembered: Option<Remembered<'_>>,
    occurrence: u64,
    known: &Known,
) -> Seen {
    let Some(remembered) = remembered else { return Seen::New };
    let old = if remembered.same_incarnation {
        occurrence < remembered.occurrence
    } else {
        mark.is_some_and(|mark| sequence <= mark)
    };
    match by_id(remembered.recent, known) {
        Some(seen) => seen,
        None if old => Seen::Duplicate,
        None => Seen::New,
    }
}

#[cfg(test)]
mod tests {
    use fettle_wire::RecordId;

    use super::*;

    fn known(id: u8, content: u8) -> Known {
        Known { id: RecordId([id; 16]), content: RecordId([content; 16]) }
    }

    #[test]
    fn at_or_below_the_mark_is_a_repetition_and_above_is_new() {
        assert_eq!(by_sequence(Some(5), 5, &[], &known(1, 1)), Seen::Duplicate);
        assert_eq!(by_sequence(Some(5), 6, &[], &known(1, 1)), Seen::New);
        assert_eq!(by_sequence(Some(5), 60, &[], &known(1, 1)), Seen::New, "gaps are other partitions'");
        assert_eq!(by_sequence(None, 0, &[], &known(1, 1)), Seen::New);
    }

    #[test]
    fn a_known_id_is_a_repetition_under_a_new_number_and_a_conflict_with_other_content() {
        assert_eq!(by_sequence(Some(5), 9, &[known(1, 1)], &known(1, 1)), Seen::Duplicate);
        assert_eq!(by_sequence(Some(5), 9, &[known(1, 1)], &known(1, 2)), Seen::Conflict);
        assert_eq!(by_sequence(Some(5), 3, &[known(1, 1)], &known(1, 2)), Seen::Conflict);
    }

    #[test]
    fn an_alert_is_new_by_its_id_even_below_the_mark() {
        let recent = [known(1, 1)];
        let remembered = Some(Remembered { recent: &recent, same_incarnation: true, occurrence: 2 });
        assert_eq!(by_occurrence(Some(9), 4, remembered, 2, &known(2, 2)), Seen::New);
        assert_eq!(by_occurrence(Some(9), 4, remembered, 2, &known(1, 1)), Seen::Duplicate);
        assert_eq!(by_occurrence(Some(9), 4, remembered, 1, &known(3, 3)), Seen::Duplicate, "an old occurrence");
        assert_eq!(by_occurrence(Some(9), 4, remembered, 2, &known(1, 9)), Seen::Conflict);
        assert_eq!(by_occurrence(Some(9), 4, None, 1, &known(2, 2)), Seen::New);
    }

    #[test]
    fn between_incarnations_the_mark_decides() {
        let remembered = Some(Remembered { recent: &[], same_incarnation: false, occurrence: 7 });
        assert_eq!(by_occurrence(None, 0, remembered, 1, &known(2, 2)), Seen::New);
        assert_eq!(by_occurrence(Some(3), 3, remembered, 9, &known(2, 2)), Seen::Duplicate);
    }
}
