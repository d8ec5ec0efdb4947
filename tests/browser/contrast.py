"""Which text of an open page is hard to read."""

from __future__ import annotations

from typing import Any

__all__ = ["poor_contrasts"]

_POOR = """() => {
    const numbers = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
    const luminance = (rgb) => {
        const [r, g, b] = rgb.slice(0, 3).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const colour = numbers(getComputedStyle(each).backgroundColor);
            if (colour.length >= 3 && (colour.length < 4 || colour[3] > 0.99)) return colour;
        }
        return [255, 255, 255];
    };
    const poor = [];
    const judge = (owner, colour, text) => {
        const lights = [luminance(numbers(colour)), luminance(behind(owner))].sort((a, b) => b - a);
        const contrast = (lights[0] + 0.05) / (lights[1] + 0.05);
        if (contrast < 4.5) poor.push([owner.tagName, text.slice(0, 30), contrast]);
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const owner = node.parentElement;
        if (!node.textContent.trim() || ['SCRIPT', 'NOSCRIPT', 'title'].includes(owner.tagName)) continue;
        const style = getComputedStyle(owner);
        judge(owner, owner.closest('svg') ? style.fill : style.color, node.textContent);
    }
    for (const field of document.querySelectorAll('input:not([type=checkbox], [type=radio])')) {
        judge(field, getComputedStyle(field).color, 'value of ' + field.id);
        if (field.placeholder) judge(field, getComputedStyle(field, '::placeholder').color, field.placeholder);
    }
    return poor;
}"""


def poor_contrasts(page: Any) -> list[Any]:
    """Element, text and contrast of all text below 4.5 : 1 (WCAG 2.2, AA)."""
    found: list[Any] = page.evaluate(_POOR)
    return found
