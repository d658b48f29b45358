//! `Einsum` of one or two values, as a transpose, a sum or a product of matrices.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use super::dense::product_of_values;
use super::reduce::joined;
use crate::graph::ReduceKind;
use crate::import::error::ImportError;
use crate::import::view::View;

/// An equation without its spaces: the letters of each input, and of the result.
fn parsed(equation: &str) -> Option<(Vec<Vec<char>>, Vec<char>)> {
    let plain: String = equation.split_whitespace().collect();
    let (left, right) = match plain.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (plain.as_str(), None),
    };
    let letters = |text: &str| -> Option<Vec<char>> {
        let list: Vec<char> = text.chars().collect();
        let distinct = (1..list.len()).all(|i| !list[..i].contains(&list[i]));
        (distinct && list.iter().all(char::is_ascii_alphabetic)).then_some(list)
    };
    let inputs = left.split(',').map(letters).collect::<Option<Vec<_>>>()?;
    let output = if let Some(right) = right {
        letters(right)?
    } else {
        // Letters that occur once, in alphabetical order.
        let mut once: Vec<char> = inputs.concat();
        once.sort_unstable();
        let count = |c: char| once.iter().filter(|&&other| other == c).count();
        once.iter().copied().filter(|&c| count(c) == 1).collect()
    };
    let known = |c: &char| inputs.iter().any(|input| input.contains(c));
    output.iter().all(known).then_some((inputs, output))
}

/// An equation with letters in place of `...`, which stands for the axes of each input that are not
/// named. All of them must be the same axes: they are not broadcast.
fn spelled_out(equation: &str, ranks: &[usize]) -> Option<String> {
    let plain: String = equation.split_whitespace().collect();
    if !plain.contains("...") {
        return Some(plain);
    }
    let (left, right) = plain.split_once("->")?;
    let inputs: Vec<&str> = left.split(',').collect();
    let mut hidden = None;
    for (input, rank) in inputs.iter().zip(ranks) {
        if let Some((before, after)) = input.split_once("...") {
            let n = rank.checked_sub(before.len() + after.len())?;
            if hidden.is_some_and(|other| other != n) {
                return None;
            }
            hidden = Some(n);
        }
    }
    let free = ('A'..='Z').filter(|c| !plain.contains(*c));
    let letters: String = free.take(hidden?).collect();
    let spell = |part: &str| part.replacen("...", &letters, 1);
    let inputs: Vec<String> = inputs.into_iter().map(spell).collect();
    (letters.len() == hidden?).then(|| format!("{}->{}", inputs.join(","), spell(right)))
}

pub(super) fn einsum<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let equation = call.attributes.text("equation")?.unwrap_or_default();
    let refused = || {
        let expected = "distinct letters for each of one or two values";
        call.place().refused("equation", &equation, expected)
    };
    let ranks: Vec<usize> = (0..call.inputs.len())
        .map(|i| call.input(i).map(|x| x.dims().len()))
        .collect::<Result<_, _>>()?;
    let spelled = spelled_out(&equation, &ranks).ok_or_else(refused)?;
    let (letters, output) = parsed(&spelled).ok_or_else(refused)?;
    if letters.len() != call.inputs.len() || letters.len() > 2 {
        return Err(refused());
    }
    let mut values = Vec::new();
    for (i, names) in letters.iter().enumerate() {
        let value = importer.value(call, i)?;
        if value.rank() != names.len() {
            return Err(refused());
        }
        // What no other value has and the result neither is summed first.
        let others: Vec<char> = (letters.iter().enumerate())
            .filter(|(other, _)| *other != i)
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        let gone = |c: &char| !others.contains(c) && !output.contains(c);
        let axes: Vec<usize> = (0..names.len()).filter(|&a| gone(&names[a])).collect();
        let mut value = value;
        if !axes.is_empty() {
            let suffix = format!("sum{i}");
            value = joined(
                importer,
                call,
                Some(&suffix),
                &value,
                &axes,
                ReduceKind::Sum,
            )?;
        }
        let kept: Vec<usize> = (0..names.len()).filter(|a| !axes.contains(a)).collect();
        let dims: Vec<usize> = kept.iter().map(|&a| value.extent(a)).collect();
        value = importer.reshape(&call.site, &value, &dims)?;
        let names: Vec<char> = kept.iter().map(|&a| names[a]).collect();
        values.push((value, names));
    }
    let (y, names) = match values.as_slice() {
        [(x, names)] => (x.clone(), names.clone()),
        [a, b] => contracted(importer, call, a, b, &output)?,
        _ => return Err(refused()),
    };
    let order: Option<Vec<usize>> = output
        .iter()
        .map(|c| names.iter().position(|name| name == c))
        .collect();
    let order = order.ok_or_else(refused)?;
    Ok(vec![Value::View(y.transposed(&order))])
}

/// The product of two values over the letters that both have and the result has not.
fn contracted(
    importer: &mut Importer,
    call: &Call,
    (a, of_a): &(View, Vec<char>),
    (b, of_b): &(View, Vec<char>),
    output: &[char],
) -> Result<(View, Vec<char>), ImportError> {
    let both = |kept: bool| -> Vec<char> {
        let both = of_a.iter().filter(|c| of_b.contains(c));
        both.filter(|c| output.contains(c) == kept)
            .copied()
            .collect()
    };
    let (shared, summed) = (both(true), both(false));
    let only = |names: &[char], others: &[char]| -> Vec<char> {
        let own = names.iter().filter(|c| !others.contains(c));
        own.copied().collect()
    };
    let (rows, columns) = (only(of_a, of_b), only(of_b, of_a));
    let extent = |view: &View, names: &[char], c: &char| {
        let axis = names.iter().position(|name| name == c);
        axis.map_or(1, |axis| view.extent(axis))
    };
    // A pair of groups becomes a matrix; shared letters are matrices of their own.
    let mut matrix = |view: &View, names: &[char], groups: [&[char]; 2]| {
        let letters = [&shared[..], groups[0], groups[1]].concat();
        let order: Option<Vec<usize>> = letters
            .iter()
            .map(|c| names.iter().position(|name| name == c))
            .collect();
        let turned = view.transposed(&order.unwrap_or_default());
        let mut dims: Vec<usize> = shared.iter().map(|c| extent(view, names, c)).collect();
        let product =
            |group: &[char]| -> usize { group.iter().map(|c| extent(view, names, c)).product() };
        dims.extend([product(groups[0]), product(groups[1])]);
        importer.reshape(&call.site, &turned, &dims)
    };
    let left = matrix(a, of_a, [&rows, &summed])?;
    let right = matrix(b, of_b, [&summed, &columns])?;
    for c in shared.iter().chain(&summed) {
        if extent(a, of_a, c) != extent(b, of_b, c) {
            let message = format!("its values differ in the extent of `{c}`");
            return Err(call.place().invalid(message));
        }
    }
    let y = product_of_values(importer, call, None, &left, &right)?;
    let letters = [&shared[..], &rows, &columns].concat();
    let dims: Vec<usize> = letters
        .iter()
        .map(|c| extent(a, of_a, c).max(extent(b, of_b, c)))
        .collect();
    let y = importer.reshape(&call.site, &y, &dims)?;
    Ok((y, letters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_read_with_or_without_a_result() {
        let text = |equation: &str| {
            let (inputs, output) = parsed(equation)?;
            let join = |list: &[char]| list.iter().collect::<String>();
            Some((
                inputs.iter().map(|i| join(i)).collect::<Vec<_>>(),
                join(&output),
            ))
        };
        let of = |inputs: &[&str], output: &str| {
            Some((
                inputs.iter().map(|&i| i.to_owned()).collect(),
                output.to_owned(),
            ))
        };
        assert_eq!(text("bhid, bhjd -> bhij"), of(&["bhid", "bhjd"], "bhij"));
        assert_eq!(text("ij,jk"), of(&["ij", "jk"], "ik"));
        assert_eq!(text("ba"), of(&["ba"], "ab"));
        let of = |equation, ranks: &[usize]| spelled_out(equation, ranks);
        assert_eq!(of("...w,wd->...d", &[4, 2]).unwrap(), "ABCw,wd->ABCd");
        assert_eq!(of("ab,bc", &[2, 2]).unwrap(), "ab,bc");
        assert_eq!(of("...i,...j->...ij", &[2, 3]), None);
        for wrong in ["ii->i", "...ij->ji", "ij->k", "i1->i"] {
            assert!(parsed(wrong).is_none(), "{wrong}");
        }
    }
}
