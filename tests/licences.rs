//! The licences and sources of dependencies follow the rules in `deny.toml`.

mod common;

use std::process::Command;

use common::{root, run, tool};

#[test]
fn dependencies_keep_the_rules_of_deny_toml() {
    run(Command::new("python3").arg(root().join("scripts/licences.py")));
    // Advisories and yanked versions need a database from the network. Building cargo-deny takes
    // minutes, so it is not required.
    if tool("cargo-deny").is_some() {
        run(Command::new("cargo")
            .current_dir(root())
            .args(["deny", "--locked", "check", "licenses", "bans", "sources"]));
    }
}
