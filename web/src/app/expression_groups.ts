/** ARKit's 52 expressions in groups, with plain labels; and the presets. */

export interface ExpressionGroup {
  title: string;
  names: string[];
}

/** The beginning of a name tells its group. */
const GROUPS: { title: string; prefixes: string[] }[] = [
  { title: 'Eyes', prefixes: ['eye'] },
  { title: 'Brows', prefixes: ['brow'] },
  { title: 'Mouth', prefixes: ['mouth'] },
  { title: 'Jaw', prefixes: ['jaw'] },
  { title: 'Cheeks and nose', prefixes: ['cheek', 'nose'] },
  { title: 'Tongue', prefixes: ['tongue'] },
];

/** Sort names into groups; left and right stand together. */
export function groupExpressions(names: string[]): ExpressionGroup[] {
  return GROUPS.map(({ title, prefixes }) => ({
    title,
    names: names.filter((name) => prefixes.some((prefix) => name.startsWith(prefix))).sort(),
  })).filter((group) => group.names.length > 0);
}

/** Say a name in words: "Eye blink left". */
export function expressionWords(name: string): string {
  const words = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words[0]!.toUpperCase() + words.slice(1);
}

const PRESET_WORDS: Record<string, string> = {
  aa: '“Ah”',
  ih: '“Ih”',
  ou: '“Oo”',
  ee: '“Ee”',
  oh: '“Oh”',
};

/** Say a preset in words: "Look left", “Ah”. */
export function presetWords(name: string): string {
  return PRESET_WORDS[name] ?? expressionWords(name);
}
