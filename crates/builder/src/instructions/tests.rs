use super::*;

fn only(text: &str) -> Instruction {
    let file = Dockerfile::read(format!("FROM scratch\n{text}").as_bytes()).unwrap();
    assert_eq!(file.stages[0].steps.len(), 1, "{text}");
    file.stages[0].steps[0].instruction.clone()
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).into()).collect()
}

#[test]
fn commands_have_two_forms() {
    let exec = |words| Instruction::Cmd(Command::Exec(strings(words)));
    let shell = |line: &str| Instruction::Cmd(Command::Shell(line.into()));
    assert_eq!(only("CMD [\"a\", \"b c\"]"), exec(&["a", "b c"]));
    assert_eq!(only("CMD []"), exec(&[]));
    assert_eq!(only("CMD ['a']"), shell("['a']"));
    assert_eq!(only("CMD [ -f x ] && y"), shell("[ -f x ] && y"));
    assert_eq!(only("ENTRYPOINT top -b"), Instruction::Entrypoint(Command::Shell("top -b".into())));
}

#[test]
fn pairs_have_two_forms() {
    let env = |pairs: &[(&str, &str)]| {
        Instruction::Env(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
    };
    assert_eq!(only("ENV a=1 b=\"x y\" c=d\\ e"), env(&[("a", "1"), ("b", "\"x y\""), ("c", "d\\ e")]));
    assert_eq!(only("ENV a b  c"), env(&[("a", "b  c")]));
    assert_eq!(
        only("ARG a b=1 c="),
        Instruction::Arg(vec![
            ("a".into(), None),
            ("b".into(), Some("1".into())),
            ("c".into(), Some(String::new()))
        ])
    );
}

#[test]
fn heredocs_are_files_or_scripts() {
    let Instruction::Copy(copy) = only("COPY --chmod=755 <<a b /d/\nx\na") else { panic!() };
    assert_eq!((copy.files[0].name.as_str(), copy.files[0].content.as_str()), ("a", "x\n"));
    assert_eq!((copy.sources, copy.destination.as_str()), (strings(&["b"]), "/d/"));

    let program = |text: &str| match only(text) {
        Instruction::Run(run) => run.program(&[], '\\'),
        other => panic!("{other:?}"),
    };
    assert_eq!(program("RUN <<-E\n\ta\n\tb\nE").arguments, strings(&["/bin/sh", "-c", "a\nb\n"]));
    assert_eq!(program("RUN cat <<E >x\nq\nE").arguments, strings(&["/bin/sh", "-c", "cat <<E >x\nq\nE"]));
    assert_eq!(program("RUN <<E cat >x\nq\nE").arguments, strings(&["/bin/sh", "-c", "<<E cat >x\nq\nE"]));
    let script = program("RUN <<E\n#!/bin/awk\nq\nE");
    assert_eq!(script.arguments, strings(&["/dev/pipes/E"]));
    assert_eq!(script.script.as_deref(), Some("#!/bin/awk\nq\n"));
}

#[test]
fn mounts_are_read() {
    let Instruction::Run(run) = only(
        "RUN --mount=type=cache,target=/c,mode=0700,uid=5 --mount=target=/src,from=a,rw --network=none x",
    ) else {
        panic!()
    };
    assert_eq!(run.network, Some(run::Network::None));
    assert_eq!(
        (run.mounts[0].kind, run.mounts[0].mode, run.mounts[0].uid),
        (run::MountKind::Cache, Some(0o700), 5)
    );
    assert_eq!((run.mounts[1].kind, run.mounts[1].writable), (run::MountKind::Bind, true));
}

#[test]
fn health_checks_are_read() {
    let Instruction::Healthcheck(health) = only("HEALTHCHECK --interval=5s --retries=2 CMD curl x") else {
        panic!()
    };
    assert_eq!(health.test, strings(&["CMD-SHELL", "curl x"]));
    assert_eq!((health.interval, health.retries), (5_000_000_000, 2));
}

#[test]
fn stages_are_found_by_name_and_index() {
    let file =
        Dockerfile::read(b"ARG v=1\nFROM a:$v AS One\nFROM --platform=linux/arm64 one as two\nFROM two")
            .unwrap();
    assert_eq!(file.globals.len(), 1);
    assert_eq!(file.stages[1].from, From { image: "one".into(), platform: "linux/arm64".into() });
    assert_eq!(file.stage_before(1, "ONE"), Some(0));
    assert_eq!(file.stage_before(2, "1"), Some(1));
    assert_eq!((file.stage_before(2, "2"), file.stage_before(0, "one")), (None, None));
}

#[test]
fn errors_say_where_and_what() {
    for (text, expected) in [
        (
            "FROM a\n\nFRM b",
            "dockerfile parse error on line 3: unknown instruction: FRM (did you mean FROM?)",
        ),
        ("FROM a\nBLUBBER b", "dockerfile parse error on line 2: unknown instruction: BLUBBER"),
        ("RUN x", "dockerfile parse error on line 1: no build stage in current context"),
        ("ARG a", "dockerfile contains no stages to build"),
        ("", "file with no instructions"),
        ("FROM", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        ("FROM a AS", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        (
            "FROM a AS 1b",
            "dockerfile parse error on line 1: invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
        ),
        (
            "FROM a\nCOPY x",
            "dockerfile parse error on line 2: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        (
            "FROM a\nCOPY --form=x a b",
            "dockerfile parse error on line 2: unknown flag: --form (did you mean from?)",
        ),
        ("FROM a\nCOPY --from a b", "dockerfile parse error on line 2: missing a value on flag: from"),
        ("FROM a\nENV a", "dockerfile parse error on line 2: ENV must have two arguments"),
        (
            "FROM a\nENV a=b c",
            "dockerfile parse error on line 2: Syntax error - can't find = in \"c\". Must be of the form: name=value",
        ),
        (
            "FROM a\nSHELL sh",
            "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form",
        ),
        ("FROM a\nUSER", "dockerfile parse error on line 2: USER requires exactly one argument"),
        (
            "FROM a\nONBUILD FROM b",
            "dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger",
        ),
        (
            "FROM a\nHEALTHCHECK NONE x",
            "dockerfile parse error on line 2: HEALTHCHECK NONE takes no arguments",
        ),
        (
            "FROM a\nCMD [1]",
            "dockerfile parse error on line 2: when using JSON array syntax, arrays must be comprised of strings only",
        ),
        ("FROM a\nRUN", "dockerfile parse error on line 2: RUN requires at least one argument"),
    ] {
        assert_eq!(Dockerfile::read(text.as_bytes()).unwrap_err().to_string(), expected, "{text}");
    }
}
