/** What there is to say about an event of GitHub's. Reads only the fields it shows. */

import { array, type Event, object, string } from "hookmill";
import { type Announcement, cut, escaped } from "./discord.ts";

type Said = Pick<Announcement, "title" | "url" | "text" | "colour">;

/** The announcement, or the reason why there is none. */
export function announcement(event: Event, maxCommits: number): Announcement | string {
  const said = words(event, maxCommits);
  if (typeof said === "string") return said;
  return {
    ...said,
    repository: {
      name: event.get("/repository/full_name", string),
      url: event.get("/repository/html_url", string),
    },
    sender: {
      name: event.get("/sender/login", string),
      avatar: event.find("/sender/avatar_url", string),
    },
    at: event.occurredAt,
  };
}

function words(event: Event, maxCommits: number): Said | string {
  switch (event.type) {
    case "github.push":
      return push(event, maxCommits);
    case "github.pull_request":
      return pullRequest(event);
    case "github.issues":
      return issue(event);
    case "github.issue_comment":
      return comment(event);
    case "github.release":
      return release(event);
    case "github.workflow_run":
      return workflowRun(event);
    default:
      return "there is no message for this event type";
  }
}

const NOT_ANNOUNCED = "this action is not announced";

const commits = array(
  object({ id: string, message: string, url: string, author: object({ name: string }) }),
);

function push(event: Event, maxCommits: number): Said | string {
  const ref = event.get("/ref", string);
  const branch = ref.replace(/^refs\/(heads|tags)\//, "");
  const kind = ref.startsWith("refs/tags/") ? "tag" : "branch";
  if (event.find("/deleted") === true) {
    return { title: `${kind} ${branch} deleted`, url: undefined, text: "", colour: "bad" };
  }
  const pushed = event.get("/commits", commits);
  const url = event.find("/compare", string);
  if (pushed.length === 0) {
    return { title: `new ${kind} ${branch}`, url, text: "", colour: "plain" };
  }
  const shown = pushed.slice(0, maxCommits).map(({ id, message, url: link, author }) => {
    const subject = escaped(cut(message.split("\n")[0] ?? "", 72));
    return `[\`${id.slice(0, 7)}\`](${link}) ${subject} – ${escaped(author.name)}`;
  });
  if (pushed.length > shown.length) shown.push(`… and ${pushed.length - shown.length} more`);
  const count = pushed.length === 1 ? "1 commit" : `${pushed.length} commits`;
  const forced = event.find("/forced") === true ? ", forced" : "";
  return { title: `${count} to ${branch}${forced}`, url, text: shown.join("\n"), colour: "plain" };
}

/** A title with its number: `#7 Totals are strings`. */
function named(event: Event, at: string): string {
  return `#${event.getText(`${at}/number`) ?? "?"} ${event.get(`${at}/title`, string)}`;
}

function pullRequest(event: Event): Said | string {
  const action = event.get("/action", string);
  const said = (verb: string, colour: Said["colour"], text = ""): Said => ({
    title: `pull request ${verb}: ${named(event, "/pull_request")}`,
    url: event.find("/pull_request/html_url", string),
    text,
    colour,
  });
  switch (action) {
    case "opened":
    case "reopened":
      return said(action, "good", event.find("/pull_request/body", string) ?? "");
    case "ready_for_review":
      return said("ready for review", "good");
    case "closed":
      return event.find("/pull_request/merged") === true
        ? said("merged", "merged")
        : said("closed", "bad");
    default:
      return NOT_ANNOUNCED;
  }
}

function issue(event: Event): Said | string {
  const action = event.get("/action", string);
  if (action !== "opened" && action !== "closed" && action !== "reopened") return NOT_ANNOUNCED;
  return {
    title: `issue ${action}: ${named(event, "/issue")}`,
    url: event.find("/issue/html_url", string),
    text: action === "opened" ? (event.find("/issue/body", string) ?? "") : "",
    colour: action === "closed" ? "merged" : "good",
  };
}

function comment(event: Event): Said | string {
  if (event.get("/action", string) !== "created") return NOT_ANNOUNCED;
  return {
    title: `comment on ${named(event, "/issue")}`,
    url: event.find("/comment/html_url", string),
    text: event.get("/comment/body", string),
    colour: "plain",
  };
}

function release(event: Event): Said | string {
  if (event.get("/action", string) !== "published") return NOT_ANNOUNCED;
  const tag = event.get("/release/tag_name", string);
  return {
    title: `release ${event.find("/release/name", string) || tag}`,
    url: event.find("/release/html_url", string),
    text: event.find("/release/body", string) ?? "",
    colour: "good",
  };
}

function workflowRun(event: Event): Said | string {
  if (event.get("/action", string) !== "completed") return NOT_ANNOUNCED;
  const conclusion = event.find("/workflow_run/conclusion", string);
  if (conclusion !== "failure" && conclusion !== "timed_out") return "the workflow did not fail";
  return {
    title: `${event.get("/workflow_run/name", string)} failed`,
    url: event.find("/workflow_run/html_url", string),
    text: `on ${escaped(event.find("/workflow_run/head_branch", string) ?? "?")}`,
    colour: "bad",
  };
}
