//! The plots as PNG files.

use std::path::Path;
use std::sync::Arc;

use epaint_default_fonts::UBUNTU_LIGHT;
use maud::Markup;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb::Database};

use super::colors;
use crate::error::{Error, Result};

/// Pixels per unit of a drawing.
const SCALE: f32 = 2.0;

/// Draws plots in the light colours. The bundled font makes images identical everywhere; missing
/// characters, such as Chinese class names, come from the system's fonts.
pub(super) struct Painter(Options<'static>);

impl Painter {
    pub(super) fn new() -> Painter {
        let mut fonts = Database::new();
        fonts.load_font_data(UBUNTU_LIGHT.to_vec());
        let family = fonts.faces().next().map_or(String::new(), |face| face.families[0].0.clone());
        fonts.load_system_fonts();
        let style = colors::light(include_str!("chart.css"));
        let style = style.replace("Ubuntu, system-ui, sans-serif", &format!("'{family}'"));
        Painter(Options {
            font_family: family,
            fontdb: Arc::new(fonts),
            style_sheet: Some(style),
            ..Options::default()
        })
    }

    /// Draws a plot on white and writes it.
    pub(super) fn write(&self, path: &Path, plot: &Markup) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| Error::new(format!("{} cannot be drawn: {error}", path.display()));
        let tree = Tree::from_str(&plot.0, &self.0).map_err(|error| failed(&error))?;
        let size = tree.size();
        let margin = 12.0;
        let side = |length: f32| ((length + 2.0 * margin) * SCALE).ceil() as u32;
        let mut pixmap =
            Pixmap::new(side(size.width()), side(size.height())).ok_or_else(|| failed(&"it is too large"))?;
        pixmap.fill(resvg::tiny_skia::Color::WHITE);
        let transform = Transform::from_translate(margin, margin).post_scale(SCALE, SCALE);
        resvg::render(&tree, transform, &mut pixmap.as_mut());
        let png = pixmap.encode_png().map_err(|error| failed(&error))?;
        Ok(fcn::file::write(path, &png)?)
    }
}
