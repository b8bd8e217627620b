//! Columns of text, aligned as Go's `text/tabwriter` aligns them.
//!
//! Cells end with a tab; a line's last cell does not take part. Neighbouring lines that have a cell in a column
//! form a block, and the block's widest cell sets the width.

/// The narrowest a column of Docker's lists is.
const MIN_WIDTH: usize = 10;
/// Blanks after the widest cell.
const PADDING: usize = 3;

/// Aligns `text`, whose cells are separated by tabs.
pub(crate) fn align(text: &str) -> String {
    align_with(text, MIN_WIDTH, PADDING)
}

/// The same with another minimum width and padding.
pub(crate) fn align_with(text: &str, min_width: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    for at in 0..lines.len() {
        for column in 0..widths[at].len() {
            if widths[at][column] == 0 {
                block(&lines, &mut widths, at, column, min_width, padding);
            }
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (i, cells) in lines.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if let Some(&width) = widths[i].get(column) {
                (width_of(cell)..width).for_each(|_| out.push(' '));
            }
        }
    }
    out
}

/// Sets the width of one column over the lines from `at` on that have it.
fn block(
    lines: &[Vec<&str>],
    widths: &mut [Vec<usize>],
    at: usize,
    column: usize,
    min_width: usize,
    padding: usize,
) {
    let end = (at..lines.len()).find(|&i| widths[i].len() <= column).unwrap_or(lines.len());
    let widest = lines[at..end].iter().map(|cells| width_of(cells[column])).max().unwrap_or(0);
    let width = (widest + padding).max(min_width);
    widths[at..end].iter_mut().for_each(|line| line[column] = width);
}

/// Go counts code points, not terminal cells.
fn width_of(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_as_docker_does() {
        let text = "DRIVER\tVOLUME NAME\nlocal\tabc\n";
        assert_eq!(align(text), "DRIVER    VOLUME NAME\nlocal     abc\n");
        let text = "NETWORK ID\tNAME\tDRIVER\n3a8d9440ca91\thost\thost\n";
        assert_eq!(align(text), "NETWORK ID     NAME      DRIVER\n3a8d9440ca91   host      host\n");
    }

    #[test]
    fn a_line_without_the_column_ends_the_block() {
        assert_eq!(align("a\tb\nx\nlonger than ten\tc\n"), "a         b\nx\nlonger than ten   c\n");
    }
}
