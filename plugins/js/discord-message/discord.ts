/** A message within Discord's bounds, in which nobody can be mentioned from a commit message. */

/** What is announced. */
export interface Announcement {
  readonly repository: { readonly name: string; readonly url: string };
  readonly sender: { readonly name: string; readonly avatar: string | undefined };
  readonly title: string;
  readonly url: string | undefined;
  readonly text: string;
  readonly colour: keyof typeof COLOURS;
  readonly at: string;
}

const COLOURS = { good: 0x2da44e, bad: 0xcf222e, merged: 0x8250df, plain: 0x57606a };

/** Discord refuses a message with a longer title or description. */
const TITLE = 256;
const DESCRIPTION = 2048;

/** The body that Discord's webhooks take. */
export function body(announcement: Announcement, username: string | undefined) {
  const { repository, sender, title, url, text, colour, at } = announcement;
  const embed = {
    title: cut(`[${repository.name}] ${title}`, TITLE),
    url: url ?? repository.url,
    description: text === "" ? undefined : cut(text, DESCRIPTION),
    color: COLOURS[colour],
    author: { name: cut(sender.name, TITLE), icon_url: sender.avatar },
    timestamp: at,
  };
  return { username, embeds: [embed], allowed_mentions: { parse: [] } };
}

/** Makes Markdown's signs ordinary characters. */
export function escaped(text: string): string {
  return text.replace(/[\\`*_~|<>[\]()#]/g, (sign) => `\\${sign}`);
}

/** At most so many UTF-16 units, which is how Discord counts, and no half of a character. */
export function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  let end = most - 1;
  if (/[\uD800-\uDBFF]/.test(text[end - 1] ?? "")) end -= 1;
  return `${text.slice(0, end)}…`;
}
