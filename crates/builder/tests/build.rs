//! Whole builds without RUN: layers, configuration, cache, ignore files, stages.

mod common;

use builder::Request;
use common::{on_a_machine, put};

fn count(output: &str, line: &str) -> usize {
    output.matches(line).count()
}

#[test]
fn a_build_from_scratch() {
    on_a_machine(|machine| {
        let dockerfile =
            "FROM scratch\nCOPY a sub/ /x/\nWORKDIR /w\nENV A=1\nLABEL l=\"two words\"\nCMD [\"/x/a\"]\n";
        let context = machine.context(
            "c",
            &[
                ("Dockerfile", dockerfile),
                ("a", "A"),
                ("sub/b", "B"),
                ("sub/no", "N"),
                (".dockerignore", "**/no"),
            ],
        );
        let (image, output) = machine.image(&context, "t:1");
        assert_eq!(machine.file(&image, "/x/a").as_deref(), Some("A"));
        assert_eq!(machine.file(&image, "/x/b").as_deref(), Some("B"));
        assert_eq!(machine.file(&image, "/x/no"), None);
        assert_eq!(machine.top_layer(&image), ["w"]);
        let config = &image.config.config;
        assert_eq!((config.working_dir.as_str(), config.labels["l"].as_str()), ("/w", "two words"));
        assert_eq!(config.cmd, ["/x/a"]);
        assert!(config.env.contains(&"A=1".to_owned()) && config.env.iter().any(|e| e.starts_with("PATH=")));
        let history: Vec<(&str, bool)> =
            image.config.history.iter().map(|h| (h.created_by.as_str(), h.empty_layer)).collect();
        assert_eq!(
            history,
            [
                ("COPY a sub/ /x/ # buildkit", false),
                ("WORKDIR /w", false),
                ("ENV A=1", true),
                ("LABEL l=two words", true),
                ("CMD [\"/x/a\"]", true),
            ]
        );
        for line in ["Step 1/6 : FROM scratch\n", "Step 6/6 : CMD [\"/x/a\"]\n", "Successfully tagged t:1\n"]
        {
            assert!(output.contains(line), "{output}");
        }
        let id = image.target.digest;
        assert!(output.contains(&format!("Successfully built {}\n", id.short())), "{output}");
        assert!(output.contains(&format!("{{\"ID\":\"{id}\"}}")), "{output}");
    });
}

#[test]
fn a_second_build_does_nothing_and_a_changed_file_counts_from_there() {
    on_a_machine(|machine| {
        let dockerfile = "FROM busybox\nCOPY one /\nCOPY two /\nENV x=y\n";
        let context = machine.context("c", &[("Dockerfile", dockerfile), ("one", "1"), ("two", "2")]);
        let (first, output) = machine.image(&context, "t");
        assert_eq!(count(&output, "Using cache"), 0);
        // A new time is no change.
        put(&context, "one", "1");
        let (second, output) = machine.image(&context, "t");
        assert_eq!((count(&output, "Using cache"), second.target.digest), (3, first.target.digest));
        put(&context, "two", "22");
        let (third, output) = machine.image(&context, "t");
        assert_eq!(count(&output, "Using cache"), 1);
        assert_eq!(machine.file(&third, "two").as_deref(), Some("22"));
        // A cached layer that was collected is made again.
        machine.host.store.untag("docker.io/library/t:latest").unwrap();
        let (layers, blobs) = builder::roots(&machine.host).unwrap();
        assert_eq!((layers.len(), blobs.len()), (3, 3));
        machine.host.store.collect(&[], &[]).unwrap();
        let (fourth, output) = machine.image(&context, "t");
        // The first image still holds `one`; `two` has to be made, and is the same then, so that ENV counts.
        assert_eq!(count(&output, "Using cache"), 2, "{output}");
        assert_eq!(machine.file(&fourth, "two").as_deref(), Some("22"));
        let all = builder::Prune { all: true, ..builder::Prune::default() };
        let needed = machine.host.store.needed().unwrap();
        assert!(!builder::prune(&machine.host, &all, &needed).unwrap().is_empty());
        assert_eq!(builder::roots(&machine.host).unwrap().0.len(), 0);
        let request = Request { context: context.into(), quiet: true, ..Request::default() };
        let (built, lines) = machine.build(request);
        let id = built.unwrap();
        assert_eq!(lines, [format!("{{\"ID\":\"{id}\"}}"), format!("{id}\n")]);
    });
}

#[test]
fn stages_copy_from_each_other_and_only_needed_ones_are_built() {
    on_a_machine(|machine| {
        let dockerfile = "ARG BASE=scratch\nFROM busybox AS files\nCOPY --chown=www:5 a /srv/\nONBUILD LABEL on=build\n\
                          FROM nowhere.invalid/never AS unused\nCOPY a /\n\
                          FROM $BASE\nCOPY --from=files /srv/ /srv/\nCOPY --from=busybox --chmod=0500 /bin/busybox /bb\n\
                          COPY <<one <<\"two\" /h/\n$BASE-$X\none\n$X\ntwo\n";
        let context = machine.context("c", &[("Dockerfile", dockerfile), ("a", "A")]);
        let (image, output) = machine.image(&context, "t");
        assert!(output.contains("Step 8/8"), "{output}");
        assert_eq!(machine.file(&image, "/h/one").as_deref(), Some("-\n"));
        assert_eq!(machine.file(&image, "/h/two").as_deref(), Some("$X\n"));
        let dirs = machine.host.store.chain_dirs(image.chain.as_ref().unwrap()).unwrap();
        let stat = |path: &str| {
            use std::os::unix::fs::MetadataExt;
            let found = dirs.iter().find_map(|d| d.join(path).symlink_metadata().ok()).unwrap();
            (found.uid(), found.gid(), found.mode() & 0o7777)
        };
        assert_eq!(stat("srv/a"), (33, 5, 0o644));
        assert_eq!(stat("bb"), (0, 0, 0o500));
        let (child, output) = {
            let dockerfile = "FROM busybox AS base\nONBUILD COPY a /from-base\nONBUILD ENV o=b\nFROM base\nENTRYPOINT [\"e\"]\n";
            put(&context, "Dockerfile", dockerfile);
            machine.image(&context, "child")
        };
        assert!(output.contains("# Executing 2 build triggers\n"), "{output}");
        assert_eq!(machine.file(&child, "/from-base").as_deref(), Some("A"));
        assert!(child.config.config.on_build.is_empty() && child.config.config.cmd.is_empty());
    });
}

#[test]
fn archives_are_unpacked_by_add_only() {
    on_a_machine(|machine| {
        let context = machine.context(
            "c",
            &[
                ("Dockerfile", "FROM scratch\nADD x.tar plain /added/\nCOPY x.tar /copied\n"),
                ("plain", "just text"),
            ],
        );
        let mut tar = sys::file::create(&context.join("x.tar"), 0o644).unwrap();
        std::io::Write::write_all(&mut tar, &testkit::image::busybox()).unwrap();
        let (image, _) = machine.image(&context, "t");
        assert!(machine.file(&image, "/added/etc/passwd").unwrap().starts_with("root:"));
        assert_eq!(machine.file(&image, "/added/plain").as_deref(), Some("just text"));
        assert_eq!(machine.top_layer(&image), ["copied"]);
    });
}

#[test]
fn failures_say_what_and_leave_nothing() {
    on_a_machine(|machine| {
        for (dockerfile, expected) in [
            (
                Some("FROM busybox\nCOPY none /\n"),
                "COPY failed: file not found in build context or excluded by .dockerignore: stat none: file does not exist (there is Dockerfile, a)",
            ),
            (
                Some("FROM busybox\nCOPY a a /f\n"),
                "dockerfile parse error on line 2: When using COPY with more than one source file, the destination must be a directory and end with a /",
            ),
            (
                Some("FROM busybox\nENV a=\"${b:?must be set}\"\n"),
                "dockerfile parse error on line 2: failed to process \"\\\"${b:?must be set}\\\"\": b: must be set",
            ),
            (
                Some("FROM $nothing\n"),
                "dockerfile parse error on line 1: base name ($nothing) should not be blank",
            ),
            (
                Some("FROM busybox\nCOPY --chown=ghost a /\n"),
                "unable to convert uid/gid chown string \"ghost\" to host mapping: can't find uid for user ghost",
            ),
            (Some(""), "the Dockerfile (Dockerfile) cannot be empty"),
            (None, "Cannot locate specified Dockerfile: Dockerfile"),
        ] {
            let context = machine.context(&format!("c{}", expected.len()), &[("a", "A")]);
            if let Some(text) = dockerfile {
                put(&context, "Dockerfile", text);
            }
            let (built, _) = machine.build(Request { context: context.into(), ..Request::default() });
            assert_eq!(common::chain(&built.unwrap_err()), expected);
            machine.assert_clean();
        }
    });
}
