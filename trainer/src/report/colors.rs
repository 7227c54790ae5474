//! The colours of report and plots. Text has a contrast of at least 4.5 to 1 with its background
//! (WCAG 2.2, 1.4.3).

/// Names in the style sheets, with the light and the dark colour.
const COLORS: [(&str, &str, &str); 8] = [
    ("paper", "#f6f7f9", "#0e1116"),
    ("panel", "#ffffff", "#171b22"),
    ("ink", "#171b22", "#e8ecf2"),
    ("soft", "#565f6c", "#a2acba"),
    ("rule", "#e3e6eb", "#2a303a"),
    ("first", "#1f5fc4", "#7db0ff"),
    ("second", "#b4480f", "#f0a060"),
    ("heat", "#7db0f7", "#1f57a8"),
];

/// Definitions of all colours, for a page that follows the reader's light or dark preference.
pub(super) fn definitions() -> String {
    let all = |theme: fn(&(&str, &str, &str)) -> String| COLORS.iter().map(theme).collect::<String>();
    format!(
        ":root{{color-scheme:light dark;{}}}@media(prefers-color-scheme:dark){{:root{{{}}}}}",
        all(|(name, light, _)| format!("--{name}:{light};")),
        all(|(name, _, dark)| format!("--{name}:{dark};"))
    )
}

/// A style sheet with names replaced by the light colours.
pub(super) fn light(style: &str) -> String {
    COLORS.iter().fold(style.to_owned(), |style, (name, light, _)| style.replace(&format!("var(--{name})"), light))
}
