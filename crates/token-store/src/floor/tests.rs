//! The floor's decision as a table: every format, bound or not, under every setting.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

const FORMATS: [Format; 9] = [
    Format::Plaintext,
    Format::DirectAes,
    Format::KmsEnvelope,
    Format::PulseplanLocal,
    Format::PulseplanKms,
    Format::Autonomous,
    Format::AutonomousDev,
    Format::NodeJson,
    Format::BoundEnvelope,
];
const FLOORS: [Floor; 3] = [Floor::Any, Floor::Envelope, Floor::Bound];
const PLAINTEXT: [PlaintextPolicy; 3] =
    [PlaintextPolicy::Allow, PlaintextPolicy::AllowRead, PlaintextPolicy::Forbid];
const BINDING: [BindingPolicy; 3] =
    [BindingPolicy::AcceptUnbound, BindingPolicy::Require, BindingPolicy::Off];

fn profile(floor: Floor, sources: &str) -> Profile {
    let text = format!(
        "name = \"t\"\nfloor = \"{floor}\"\nsources = [{sources}]\n[context]\nApplication = \"t\"\n\
         [[tables]]\nname = \"t\"\nkey = [\"id\"]\ntokens = [\"tok\"]\n"
    );
    Profile::from_toml(&text).unwrap()
}

/// The expected decision, written down for each format by itself.
fn expected(rules: &Rules, format: Format, bound: bool) -> &'static str {
    let floor = rules.floor;
    match format {
        Format::Plaintext if rules.plaintext == PlaintextPolicy::Forbid => "plaintext_forbidden",
        Format::Plaintext if floor == Floor::Any => "read",
        Format::Plaintext => "below_floor",
        Format::DirectAes if floor == Floor::Any => "read",
        Format::DirectAes => "below_floor",
        Format::PulseplanLocal if floor == Floor::Any => "read",
        Format::PulseplanLocal => "below_floor",
        Format::PulseplanKms if floor == Floor::Any => "read",
        Format::PulseplanKms => "below_floor",
        Format::Autonomous if floor == Floor::Any => "read",
        Format::Autonomous => "below_floor",
        Format::AutonomousDev if floor == Floor::Any => "read",
        Format::AutonomousDev => "below_floor",
        Format::NodeJson if floor != Floor::Any => "below_floor",
        Format::NodeJson if rules.node_json => "read",
        Format::NodeJson => "not_a_source",
        Format::KmsEnvelope if bound => "read",
        Format::KmsEnvelope if rules.binding == BindingPolicy::Require => "unbound",
        Format::KmsEnvelope if floor == Floor::Bound => "below_floor",
        Format::KmsEnvelope => "read",
        Format::BoundEnvelope => "read",
        other => unreachable!("{other} is missing in the table"),
    }
}

fn all_rules() -> impl Iterator<Item = Rules> {
    FLOORS.into_iter().flat_map(|floor| {
        PLAINTEXT.into_iter().flat_map(move |plaintext| {
            BINDING.into_iter().flat_map(move |binding| {
                [false, true].map(|node_json| Rules { floor, plaintext, binding, node_json })
            })
        })
    })
}

fn outcome(decision: Result<(), OpenError>) -> &'static str {
    decision.err().map_or("read", |error| error.class())
}

#[test]
fn every_format_under_every_setting_is_decided_as_the_table_says() {
    let mut decided = 0;
    for rules in all_rules() {
        for format in FORMATS {
            for bound in [false, true] {
                let said = outcome(rules.decide(format, Some(bound)));
                assert_eq!(said, expected(&rules, format, bound), "{format} bound: {bound} under {rules:?}");
                decided += 1;
            }
        }
    }
    assert_eq!(decided, 3 * 3 * 3 * 2 * 9 * 2);
}

#[test]
fn before_a_value_is_opened_only_what_no_binding_could_change_is_refused() {
    for rules in all_rules() {
        for format in FORMATS {
            let before = outcome(rules.decide(format, None));
            assert_eq!(before, outcome(rules.decide(format, Some(true))), "{format} under {rules:?}");
        }
    }
}

#[test]
fn a_higher_floor_never_reads_what_a_lower_one_refuses() {
    for rules in all_rules() {
        for (format, bound) in FORMATS.into_iter().flat_map(|format| [(format, false), (format, true)]) {
            let reads = |floor| Rules { floor, ..rules }.decide(format, Some(bound)).is_ok();
            assert!(FLOORS.windows(2).all(|pair| reads(pair[0]) || !reads(pair[1])), "{format} {rules:?}");
        }
    }
}

#[test]
fn require_and_forbid_together_read_nothing_but_bound_envelopes_whatever_the_profile_and_the_floor_say() {
    for (of_profile, set) in FLOORS.into_iter().flat_map(|of| {
        [None, Some(Floor::Any), Some(Floor::Envelope), Some(Floor::Bound)].map(|set| (of, set))
    }) {
        for sources in ["", "\"node-json\""] {
            let profile = profile(of_profile, sources);
            let rules = Rules::new(set, &profile, BindingPolicy::Require, PlaintextPolicy::Forbid, false);
            for (format, bound) in FORMATS.into_iter().flat_map(|format| [(format, false), (format, true)]) {
                let is_bound_envelope =
                    format == Format::BoundEnvelope || format == Format::KmsEnvelope && bound;
                assert_eq!(rules.decide(format, Some(bound)).is_ok(), is_bound_envelope, "{format} {bound}");
            }
        }
    }
}

#[test]
fn the_setting_overrides_the_profile_in_both_directions() {
    for of_profile in FLOORS {
        let effective = |set| {
            let profile = profile(of_profile, "");
            Floor::effective(set, &profile, BindingPolicy::AcceptUnbound, PlaintextPolicy::Allow)
        };
        assert_eq!(effective(None), of_profile);
        for set in FLOORS {
            assert_eq!(effective(Some(set)), set);
        }
    }
}

#[test]
fn require_and_forbid_raise_the_floor_together_and_neither_does_alone() {
    for (binding, plaintext) in BINDING.into_iter().flat_map(|b| PLAINTEXT.map(|p| (b, p))) {
        let strict = (binding, plaintext) == (BindingPolicy::Require, PlaintextPolicy::Forbid);
        for (of_profile, set) in FLOORS.into_iter().flat_map(|of| FLOORS.map(|set| (of, set))) {
            let effective = |set| Floor::effective(set, &profile(of_profile, ""), binding, plaintext);
            let expected = |otherwise| if strict { Floor::Bound } else { otherwise };
            assert_eq!(effective(Some(set)), expected(set), "{binding:?} {plaintext:?}");
            assert_eq!(effective(None), expected(of_profile), "{binding:?} {plaintext:?}");
        }
    }
}

#[test]
fn a_run_below_the_floor_reads_every_form_and_still_no_source_that_the_profile_does_not_name() {
    for (binding, plaintext) in BINDING.into_iter().flat_map(|b| PLAINTEXT.map(|p| (b, p))) {
        for floor in FLOORS {
            let rules = Rules::new(None, &profile(floor, ""), binding, plaintext, true);
            for (format, bound) in FORMATS.into_iter().flat_map(|format| [(format, false), (format, true)]) {
                assert_eq!(rules.decide(format, Some(bound)).is_ok(), format != Format::NodeJson, "{format}");
            }
        }
    }
}

#[test]
fn envelopes_are_opened_as_strictly_as_the_floor_demands() {
    for rules in all_rules() {
        let strict = rules.binding == BindingPolicy::Require
            || rules.floor == Floor::Bound && rules.binding == BindingPolicy::AcceptUnbound;
        assert_eq!(rules.opening() == BindingPolicy::Require, strict, "{rules:?}");
    }
}

#[test]
fn floors_are_named_as_the_settings_name_them() {
    for floor in FLOORS {
        assert_eq!(floor.name().parse(), Ok(floor));
    }
    for text in ["", "Bound", "none", "bound "] {
        assert_eq!(text.parse::<Floor>(), Err(FloorError));
    }
}
