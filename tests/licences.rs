//! Dependencies: their licences go with libfcn's, and all come from crates.io. `deny.toml` has the
//! rules.

mod common;

use std::process::Command;

use common::{have, root, run};

#[test]
fn dependencies_keep_the_rules_of_deny_toml() {
    if have("licences of dependencies", &["cargo-deny"]) {
        // Advisories and yanked versions stand in a database that has to be fetched.
        run(Command::new("cargo")
            .current_dir(root())
            .args(["deny", "--locked", "check", "licenses", "bans", "sources"]));
    }
}
