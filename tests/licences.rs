//! Dependencies: their licences go with libfcn's, and all come from crates.io. `deny.toml` has the
//! rules.

mod common;

use std::process::Command;

use common::{root, run, skip_data, tool};

#[test]
fn dependencies_keep_the_rules_of_deny_toml() {
    if tool("cargo-deny").is_none() {
        // Building cargo-deny takes longer than most of the checks, so none of them requires it.
        return skip_data("licences of dependencies", "cargo-deny is missing");
    }
    // Advisories and yanked versions need a database from the network.
    run(Command::new("cargo").current_dir(root()).args(["deny", "--locked", "check", "licenses", "bans", "sources"]));
}
