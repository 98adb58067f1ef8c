//! The outline of a zstd frame, read without decompressing it: RFC 8878, section 3.1.1.
//!
//! A payload must be one whole frame and nothing more. Its content is checked by whoever
//! decompresses it; the bound on its raw length tells them beforehand what that can cost.

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// No block expands to more than this.
const BLOCK_SIZE_MAX: u64 = 128 << 10;
const BLOCK_HEAD_SIZE: usize = 3;
const CONTENT_SUM_SIZE: usize = 4;

/// What a frame says of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outline {
    /// Bytes of the content, where the frame states them.
    pub raw_len: Option<u64>,
    /// More than this it cannot expand to.
    pub raw_len_max: u64,
}

/// The outline of the single frame that is all of `payload`.
pub(super) fn outline(payload: &[u8]) -> Result<Outline, &'static str> {
    let rest = payload
        .strip_prefix(&MAGIC)
        .ok_or("a value is no zstd frame")?;
    let (&descriptor, rest) = rest.split_first().ok_or(CUT)?;
    let single_segment = descriptor & 0x20 != 0;
    if descriptor & 0x08 != 0 || descriptor & 0x03 != 0 {
        return Err("a value's zstd frame needs a dictionary, or has unknown flags");
    }
    let rest = match single_segment {
        true => rest,
        false => rest.get(1..).ok_or(CUT)?,
    };
    let size = match (descriptor >> 6, single_segment) {
        (0, false) => 0,
        (0, true) => 1,
        (flag, _) => 1 << flag,
    };
    let (stated, rest) = rest.split_at_checked(size).ok_or(CUT)?;
    let raw_len = (size > 0).then(|| {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(stated);
        let stated = u64::from_le_bytes(bytes);
        // Two bytes count from where one ends.
        if size == 2 { stated + 256 } else { stated }
    });
    let (rest, blocks_max) = blocks(rest)?;
    let sum_size = if descriptor & 0x04 == 0 {
        0
    } else {
        CONTENT_SUM_SIZE
    };
    if rest.len() != sum_size {
        return Err("a value is longer or shorter than its zstd frame");
    }
    if raw_len.is_some_and(|raw_len| raw_len > blocks_max) {
        return Err("a value's zstd frame states a length that its blocks cannot have");
    }
    Ok(Outline {
        raw_len,
        raw_len_max: raw_len.unwrap_or(blocks_max),
    })
}

const CUT: &str = "a value's zstd frame is cut";

/// Walks the blocks; what follows them, and the most they can expand to.
fn blocks(mut rest: &[u8]) -> Result<(&[u8], u64), &'static str> {
    let mut raw_len_max = 0;
    loop {
        let (head, after) = rest.split_at_checked(BLOCK_HEAD_SIZE).ok_or(CUT)?;
        let head = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let (last, kind, size) = (head & 1 != 0, head >> 1 & 3, head >> 3);
        if u64::from(size) > BLOCK_SIZE_MAX {
            return Err("a value's zstd frame has a block that is too large");
        }
        let (stored, raw) = match kind {
            0 => (size, u64::from(size)),
            1 => (1, u64::from(size)),
            2 => (size, BLOCK_SIZE_MAX),
            _ => return Err("a value's zstd frame has a block of an unknown kind"),
        };
        raw_len_max += raw;
        rest = after.get(stored as usize..).ok_or(CUT)?;
        if last {
            return Ok((rest, raw_len_max));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW_LAST: [u8; 3] = [3 << 3 | 1, 0, 0];

    fn frame(head: &[u8], tail: &[u8]) -> Vec<u8> {
        [&MAGIC, head, tail].concat()
    }

    #[test]
    fn every_way_to_state_a_length_is_read() {
        let body = [&RAW_LAST[..], b"abc"].concat();
        let outline = |head: &[u8]| outline(&frame(head, &body));
        let of = |raw_len, raw_len_max| {
            Ok(Outline {
                raw_len,
                raw_len_max,
            })
        };
        assert_eq!(outline(&[0x00, 0]), of(None, 3));
        assert_eq!(outline(&[0x20, 3]), of(Some(3), 3));
        assert_eq!(outline(&[0x80, 0, 3, 0, 0, 0]), of(Some(3), 3));
        assert_eq!(outline(&[0xa0, 3, 0, 0, 0]), of(Some(3), 3));
        assert_eq!(outline(&[0xe0, 3, 0, 0, 0, 0, 0, 0, 0]), of(Some(3), 3));
        // Two bytes state 256 and more, which these three bytes are not.
        assert!(outline(&[0x60, 3, 0]).is_err());
        let length = 299;
        let [low, high, ..] = (299_u32 << 3 | 1 << 1 | 1).to_le_bytes();
        let run = [low, high, 0, b'x'];
        let head = [0x60, (length - 256) as u8, 0];
        assert_eq!(
            super::outline(&frame(&head, &run)),
            of(Some(length), length)
        );
    }

    #[test]
    fn a_dictionary_unknown_flags_and_unknown_blocks_are_refused() {
        let body = [&RAW_LAST[..], b"abc"].concat();
        for descriptor in [0x01, 0x02, 0x03, 0x08] {
            assert!(outline(&frame(&[descriptor, 0, 0, 0, 0], &body)).is_err());
        }
        assert!(outline(&frame(&[0, 0], &[3 << 3 | 3 << 1 | 1, 0, 0, 1, 2, 3])).is_err());
        assert!(outline(&frame(&[0, 0], &[1, 0, 0xff])).is_err());
        assert!(outline(b"not zstd at all").is_err());
    }

    #[test]
    fn a_cut_or_longer_frame_is_refused() {
        let first = [2 << 3, 0, 0, b'a', b'b'];
        let tail = [&first[..], &RAW_LAST, b"abc", &[1, 2, 3, 4]].concat();
        let whole = frame(&[0x24, 5], &tail);
        assert!(outline(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(outline(&whole[..length]).is_err(), "{length}");
        }
        assert!(outline(&[&whole[..], &whole].concat()).is_err());
        assert!(outline(&[&whole[..], b"x"].concat()).is_err());
    }
}
