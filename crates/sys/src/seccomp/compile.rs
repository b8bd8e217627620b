//! From rules to instructions.

use std::collections::{BTreeMap, HashMap};

use super::{Action, Comparison, Condition, Instruction, Profile, tables};

// linux/bpf_common.h: classes, sizes, modes, operations.
const LOAD_ABSOLUTE_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

// linux/seccomp.h: offsets in struct seccomp_data, little-endian halves of an argument.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument_low(index: u8) -> u32 {
    16 + 8 * index as u32
}
const fn argument_high(index: u8) -> u32 {
    argument_low(index) + 4
}

/// One ABI: the architecture value of linux/audit.h, the bit its numbers carry, its table.
struct Abi {
    name: &'static str,
    architecture: u32,
    bit: u32,
    table: &'static [(&'static str, u32)],
}

#[cfg(target_arch = "x86_64")]
const ABIS: &[Abi] = &[
    Abi { name: "SCMP_ARCH_X86_64", architecture: 0xc000_003e, bit: 0, table: tables::X86_64 },
    Abi { name: "SCMP_ARCH_X32", architecture: 0xc000_003e, bit: 0x4000_0000, table: tables::X32 },
    Abi { name: "SCMP_ARCH_X86", architecture: 0x4000_0003, bit: 0, table: tables::I386 },
];
#[cfg(target_arch = "aarch64")]
const ABIS: &[Abi] =
    &[Abi { name: "SCMP_ARCH_AARCH64", architecture: 0xc000_00b7, bit: 0, table: tables::AARCH64 }];

/// What happens to one number: the conditional decisions in order, then the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decision {
    conditional: Vec<(Vec<Condition>, Action)>,
    last: Action,
}

/// Compiles a profile for this machine's architecture.
pub fn compile(profile: &Profile) -> Vec<Instruction> {
    let mut program = Program::default();
    let wanted = |index: usize, abi: &Abi| index == 0 || profile.other_abis.contains(&abi.name);
    let abis: Vec<&Abi> =
        ABIS.iter().enumerate().filter(|(index, abi)| wanted(*index, abi)).map(|(_, abi)| abi).collect();
    program.load(ARCHITECTURE);
    for (index, abi) in abis.iter().enumerate() {
        // ABIs of one architecture stand together; the numbers' bit tells them apart.
        if index == 0 || abis[index - 1].architecture != abi.architecture {
            let next = program.jump_unless(JUMP_EQUAL, abi.architecture);
            let same: Vec<&Abi> =
                abis.iter().filter(|a| a.architecture == abi.architecture).copied().collect();
            program.load(NUMBER);
            program.architecture(profile, &same);
            program.land(next);
        }
    }
    program.give(Action::KillProcess);
    program.0
}

/// The ranges of one ABI's numbers: first number and the decision up to the next range.
fn ranges(profile: &Profile, abi: &Abi) -> Vec<(u32, Decision)> {
    let numbers: HashMap<&str, u32> = abi.table.iter().copied().collect();
    let mut decisions: BTreeMap<u32, Decision> = BTreeMap::new();
    for rule in &profile.rules {
        for number in rule.names.iter().filter_map(|name| numbers.get(name.as_str())) {
            let undecided = || Decision { conditional: Vec::new(), last: profile.default };
            let decision = decisions.entry(*number).or_insert_with(undecided);
            if rule.conditions.is_empty() {
                decision.last = rule.action;
            } else {
                decision.conditional.push((rule.conditions.clone(), rule.action));
            }
        }
    }
    for decision in decisions.values_mut() {
        // What the last decision would say anyway needs no question.
        let last = decision.last;
        if decision.conditional.iter().all(|(_, action)| *action == last) {
            decision.conditional.clear();
        }
    }
    let newest = abi.table.iter().map(|(_, number)| *number).max().unwrap_or(0);
    let default = Decision { conditional: Vec::new(), last: profile.default };
    let mut ranges: Vec<(u32, Decision)> = Vec::new();
    for number in 0..=newest {
        let decision = decisions.remove(&number).unwrap_or_else(|| default.clone());
        if ranges.last().is_none_or(|(_, previous)| *previous != decision) {
            ranges.push((abi.bit | number, decision));
        }
    }
    let unknown = match profile.default {
        Action::Errno(_) => Action::Errno(libc::ENOSYS as u16),
        other => other,
    };
    ranges.push((abi.bit | (newest + 1), Decision { conditional: Vec::new(), last: unknown }));
    ranges
}

/// Instructions, with jumps that are patched when their target is known.
#[derive(Default)]
struct Program(Vec<Instruction>);

/// The place of a jump whose target is not known yet.
struct Jump(usize);

impl Program {
    fn push(&mut self, code: u16, k: u32, jump_true: u8, jump_false: u8) {
        self.0.push(Instruction { code, jump_true, jump_false, k });
    }

    fn load(&mut self, offset: u32) {
        self.push(LOAD_ABSOLUTE_WORD, offset, 0, 0);
    }

    fn give(&mut self, action: Action) {
        // linux/seccomp.h: SECCOMP_RET_…
        let value = match action {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0,
            Action::Trap => 0x0003_0000,
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Notify => 0x7fc0_0000,
            Action::Trace(message) => 0x7ff0_0000 | u32::from(message),
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        };
        self.push(RETURN, value, 0, 0);
    }

    /// Falls through when the test holds; else jumps (as far as need be: conditional jumps reach only 255).
    fn jump_unless(&mut self, test: u16, k: u32) -> Jump {
        self.push(test, k, 1, 0);
        self.jump()
    }

    /// Falls through when the test does not hold; else jumps.
    fn jump_if(&mut self, test: u16, k: u32) -> Jump {
        self.push(test, k, 0, 1);
        self.jump()
    }

    fn jump(&mut self) -> Jump {
        self.push(JUMP, 0, 0, 0);
        Jump(self.0.len() - 1)
    }

    /// The jump's target is the next instruction.
    fn land(&mut self, jump: Jump) {
        let distance = self.0.len() - jump.0 - 1;
        self.0[jump.0].k = u32::try_from(distance).expect("programs have fewer than 65536 instructions");
    }

    /// Decides every number of the ABIs of one architecture. The number is in the accumulator.
    fn architecture(&mut self, profile: &Profile, abis: &[&Abi]) {
        // The ABIs are sorted by their bit, so their ranges follow each other.
        let mut all: Vec<_> = abis.iter().flat_map(|abi| ranges(profile, abi)).collect();
        // An ABI that is left out must not pass as unknown numbers of its sibling.
        let left_out = |abi: &&Abi| {
            abi.architecture == abis[0].architecture && !abis.iter().any(|taken| taken.bit == abi.bit)
        };
        let kill = || Decision { conditional: Vec::new(), last: Action::KillProcess };
        all.extend(ABIS.iter().filter(left_out).map(|abi| (abi.bit, kill())));
        self.bisect(&all);
    }

    fn bisect(&mut self, ranges: &[(u32, Decision)]) {
        if let [(_, decision)] = ranges {
            return self.decide(decision);
        }
        let (left, right) = ranges.split_at(ranges.len() / 2);
        let to_right = self.jump_if(JUMP_GREATER_OR_EQUAL, right[0].0);
        self.bisect(left);
        self.land(to_right);
        self.bisect(right);
    }

    fn decide(&mut self, decision: &Decision) {
        for (conditions, action) in &decision.conditional {
            let missed: Vec<Jump> = conditions.iter().flat_map(|c| self.condition(*c)).collect();
            self.give(*action);
            missed.into_iter().for_each(|jump| self.land(jump));
        }
        self.give(decision.last);
    }

    /// Falls through when the condition holds; the jumps returned are taken when it does not.
    fn condition(&mut self, condition: Condition) -> Vec<Jump> {
        let (low, high) = (argument_low(condition.argument), argument_high(condition.argument));
        match condition.comparison {
            Comparison::Equal(value) => self.equal(low, high, u64::MAX, value),
            Comparison::MaskedEqual(mask, value) => self.equal(low, high, mask, value & mask),
            Comparison::NotEqual(value) => {
                self.load(high);
                let differs = self.jump_unless(JUMP_EQUAL, high_half(value));
                self.load(low);
                let same = self.jump_if(JUMP_EQUAL, low_half(value));
                self.land(differs);
                vec![same]
            }
            Comparison::Greater(value) => self.greater(low, high, value, JUMP_GREATER),
            Comparison::GreaterOrEqual(value) => self.greater(low, high, value, JUMP_GREATER_OR_EQUAL),
            Comparison::Less(value) => self.not_greater(low, high, value, JUMP_GREATER_OR_EQUAL),
            Comparison::LessOrEqual(value) => self.not_greater(low, high, value, JUMP_GREATER),
        }
    }

    fn equal(&mut self, low: u32, high: u32, mask: u64, value: u64) -> Vec<Jump> {
        let halves = [(high, high_half(mask), high_half(value)), (low, low_half(mask), low_half(value))];
        let mut missed = Vec::new();
        for (offset, mask, value) in halves {
            self.load(offset);
            if mask != u32::MAX {
                self.push(AND, mask, 0, 0);
            }
            missed.push(self.jump_unless(JUMP_EQUAL, value));
        }
        missed
    }

    /// Holds when the argument is greater (or equal, by `test`) than the value.
    fn greater(&mut self, low: u32, high: u32, value: u64, test: u16) -> Vec<Jump> {
        self.load(high);
        let surely = self.jump_if(JUMP_GREATER, high_half(value));
        let never = self.jump_unless(JUMP_EQUAL, high_half(value));
        self.load(low);
        let missed = self.jump_unless(test, low_half(value));
        self.land(surely);
        vec![never, missed]
    }

    /// Holds when the argument is not greater (or equal, by `test`) than the value.
    fn not_greater(&mut self, low: u32, high: u32, value: u64, test: u16) -> Vec<Jump> {
        self.load(high);
        let never = self.jump_if(JUMP_GREATER, high_half(value));
        let surely = self.jump_unless(JUMP_EQUAL, high_half(value));
        self.load(low);
        let missed = self.jump_if(test, low_half(value));
        self.land(surely);
        vec![never, missed]
    }
}

fn high_half(value: u64) -> u32 {
    (value >> 32) as u32
}

fn low_half(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::super::Rule;
    use super::*;

    /// What the kernel would do with a filter: an interpreter of the instructions used.
    fn interpret(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [0_u8; 64];
        data[..4].copy_from_slice(&number.to_le_bytes());
        data[4..8].copy_from_slice(&architecture.to_le_bytes());
        for (i, argument) in arguments.iter().enumerate() {
            data[16 + 8 * i..24 + 8 * i].copy_from_slice(&argument.to_le_bytes());
        }
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let instruction = program[at];
            at += 1;
            let jump =
                |holds: bool| usize::from(if holds { instruction.jump_true } else { instruction.jump_false });
            match instruction.code {
                LOAD_ABSOLUTE_WORD => {
                    let offset = instruction.k as usize;
                    accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
                }
                AND => accumulator &= instruction.k,
                JUMP => at += instruction.k as usize,
                JUMP_EQUAL => at += jump(accumulator == instruction.k),
                JUMP_GREATER => at += jump(accumulator > instruction.k),
                JUMP_GREATER_OR_EQUAL => at += jump(accumulator >= instruction.k),
                RETURN => return instruction.k,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    const AMD64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;
    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;

    fn rule(names: &[&str], action: Action, conditions: Vec<Condition>) -> Rule {
        Rule { names: names.iter().map(|n| (*n).to_owned()).collect(), action, conditions }
    }

    fn profile(rules: Vec<Rule>) -> Vec<Instruction> {
        compile(&Profile {
            default: Action::Errno(1),
            rules,
            other_abis: super::super::ARCHITECTURES.to_vec(),
        })
    }

    #[test]
    fn each_abi_has_its_numbers() {
        let program = profile(vec![rule(&["read", "execve", "no_such_call"], Action::Allow, vec![])]);
        let ask = |architecture, number| interpret(&program, architecture, number, [0; 6]);
        assert_eq!(ask(AMD64, 0), ALLOW); // read
        assert_eq!(ask(AMD64, 1), EPERM); // write
        assert_eq!(ask(AMD64, 59), ALLOW); // execve
        assert_eq!(ask(AMD64, 100_000), ENOSYS);
        assert_eq!(ask(AMD64, 0x4000_0000), ALLOW); // x32 read
        assert_eq!(ask(AMD64, 0x4000_0000 | 520), ALLOW); // x32 execve
        assert_eq!(ask(AMD64, 0x4000_0000 | 59), EPERM);
        assert_eq!(ask(I386, 3), ALLOW); // read
        assert_eq!(ask(I386, 11), ALLOW); // execve
        assert_eq!(ask(I386, 0), EPERM);
        assert_eq!(ask(0xc000_00b7, 0), 0x8000_0000);
    }

    #[test]
    fn an_abi_that_is_left_out_is_killed() {
        let rules = vec![rule(&["write"], Action::Errno(1), vec![])];
        let program = compile(&Profile { default: Action::Allow, rules, other_abis: vec![] });
        let ask = |architecture, number| interpret(&program, architecture, number, [0; 6]);
        assert_eq!((ask(AMD64, 0), ask(AMD64, 1)), (ALLOW, EPERM));
        assert_eq!(ask(AMD64, 0x4000_0000 | 1), 0x8000_0000);
        assert_eq!(ask(I386, 4), 0x8000_0000);
    }

    #[test]
    fn every_number_is_decided_as_a_list_would() {
        let names: Vec<&str> = tables::X86_64.iter().step_by(3).map(|(name, _)| *name).collect();
        let program = profile(vec![rule(&names, Action::Allow, vec![])]);
        assert!(program.len() < 4096, "{} instructions: the kernel takes 4096", program.len());
        for (name, number) in tables::X86_64 {
            let expected = if names.contains(name) { ALLOW } else { EPERM };
            assert_eq!(interpret(&program, AMD64, *number, [0; 6]), expected, "{name}");
        }
    }

    #[test]
    fn arguments_are_64_bits_wide() {
        let big = 0x1_0000_0005;
        type Case = (Comparison, fn(u64) -> bool);
        let cases: [Case; 7] = [
            (Comparison::Equal(0x1_0000_0005), |v| v == 0x1_0000_0005),
            (Comparison::NotEqual(0x1_0000_0005), |v| v != 0x1_0000_0005),
            (Comparison::Less(0x1_0000_0005), |v| v < 0x1_0000_0005),
            (Comparison::LessOrEqual(0x1_0000_0005), |v| v <= 0x1_0000_0005),
            (Comparison::Greater(0x1_0000_0005), |v| v > 0x1_0000_0005),
            (Comparison::GreaterOrEqual(0x1_0000_0005), |v| v >= 0x1_0000_0005),
            (Comparison::MaskedEqual(0x1_0000_0004, 0x1_0000_0000), |v| v & 0x1_0000_0004 == 0x1_0000_0000),
        ];
        for (comparison, holds) in cases {
            let condition = Condition { argument: 2, comparison };
            let program = profile(vec![rule(&["read"], Action::Allow, vec![condition])]);
            for value in
                [0, 4, 5, 6, big - 1, big, big + 1, 0x2_0000_0000, 0x2_0000_0005, 0x1_0000_0000, u64::MAX]
            {
                let answer = interpret(&program, AMD64, 0, [0, 0, value, 0, 0, 0]);
                assert_eq!(answer == ALLOW, holds(value), "{comparison:?} of {value:#x}");
            }
        }
    }

    #[test]
    fn rules_of_one_call_are_alternatives() {
        let equal = |value| vec![Condition { argument: 0, comparison: Comparison::Equal(value) }];
        let program = profile(vec![
            rule(&["socket"], Action::Allow, equal(1)),
            rule(&["socket"], Action::Errno(38), equal(2)),
            rule(&["personality"], Action::Allow, equal(0)),
        ]);
        let socket = |domain| interpret(&program, AMD64, 41, [domain, 0, 0, 0, 0, 0]);
        assert_eq!((socket(1), socket(2), socket(3)), (ALLOW, ENOSYS, EPERM));
    }
}
