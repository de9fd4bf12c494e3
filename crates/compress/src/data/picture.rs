//! Pictures: decoded, brought to one size, and kept as bytes, channels × height × width.

use std::path::Path;

use image::{DynamicImage, ImageReader, Limits, imageops::FilterType};
use sentei_api::spec::data::{Fit, ImageLayout};

/// Larger pictures are refused before a pixel is decoded.
const MAX_SIDE: u32 = 16_384;
const MAX_DECODED_BYTES: u64 = 512 << 20;

/// Bytes of one picture in this layout.
pub(crate) fn bytes(layout: &ImageLayout) -> usize {
    usize::from(layout.channels) * layout.height as usize * layout.width as usize
}

/// Reads and fits one picture.
pub(crate) fn read(path: &Path, layout: &ImageLayout) -> Result<Vec<u8>, String> {
    let mut reader =
        ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(|error| error.to_string())?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| error.to_string())?;
    Ok(fit(&picture, layout))
}

/// Resamples with a triangle filter (bilinear; averaging when shrinking).
fn fit(picture: &DynamicImage, layout: &ImageLayout) -> Vec<u8> {
    let (height, width) = (layout.height, fitted_width(picture, layout));
    let picture = if (picture.width(), picture.height()) == (width, height) {
        picture.clone()
    } else {
        picture.resize_exact(width, height, FilterType::Triangle)
    };
    let (height, width, full) = (height as usize, width as usize, layout.width as usize);
    let mut fitted = vec![0_u8; bytes(layout)];
    let (pixels, channels) =
        if layout.channels == 1 { (picture.into_luma8().into_raw(), 1) } else { (picture.into_rgb8().into_raw(), 3) };
    for (at, pixel) in pixels.chunks_exact(channels).enumerate() {
        let (y, x) = (at / width, at % width);
        for (channel, value) in pixel.iter().enumerate() {
            fitted[(channel * height + y) * full + x] = *value;
        }
    }
    fitted
}

fn fitted_width(picture: &DynamicImage, layout: &ImageLayout) -> u32 {
    match layout.fit {
        Fit::Stretch => layout.width,
        Fit::PadRight => {
            let ratio = f64::from(picture.width()) / f64::from(picture.height().max(1));
            ((f64::from(layout.height) * ratio).round() as u32).clamp(1, layout.width)
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    fn layout(height: u32, width: u32, channels: u8, fit: Fit) -> ImageLayout {
        ImageLayout { height, width, channels, fit }
    }

    #[test]
    fn channels_come_first_and_grey_fills_three() {
        let picture = RgbImage::from_fn(2, 1, |x, _| Rgb([10 + x as u8, 20, 30]));
        assert_eq!(fit(&picture.into(), &layout(1, 2, 3, Fit::Stretch)), [10, 11, 20, 20, 30, 30]);
        let grey = GrayImage::from_pixel(1, 1, Luma([7]));
        assert_eq!(fit(&grey.into(), &layout(1, 1, 3, Fit::Stretch)), [7, 7, 7]);
    }

    #[test]
    fn a_text_line_keeps_its_ratio_and_is_padded_with_zeros_on_the_right() {
        let grey = GrayImage::from_pixel(4, 4, Luma([9]));
        assert_eq!(fit(&grey.into(), &layout(2, 3, 1, Fit::PadRight)), [9, 9, 0, 9, 9, 0]);
        let wide = GrayImage::from_pixel(40, 4, Luma([9]));
        assert_eq!(fit(&wide.into(), &layout(2, 3, 1, Fit::PadRight)), [9; 6]);
    }
}
