/** A service as the Node KMSService had it: keeps secrets in a table, now through the agent, for rows of every form. */

import { createServer } from "node:http";

import { AgentClient, AgentError } from "../../../node/src/index.js";

const agent = new AgentClient(process.env.AGENT_SOCKET);

/** Stores what `change` makes of a secret; where another writer was faster, of what that one stored. */
async function replace(name, change) {
  for (;;) {
    const { tokens, revision } = await agent.get({ name });
    try {
      return await agent.put({ name }, { value: change(tokens.value) }, { ifRevision: revision });
    } catch (error) {
      if (!(error instanceof AgentError && error.status === 409)) throw error;
    }
  }
}

/** The next generation of a secret: a real service would make a random one. */
function nextGeneration(value) {
  const [, name, generation] = /^(.*) generation (\d+)$/.exec(value) ?? [];
  if (name === undefined) throw new Error("the secret is not one that this service stored");
  return `${name} generation ${Number(generation) + 1}`;
}

const server = createServer(async (request, response) => {
  const name = decodeURIComponent((request.url ?? "").replace(/^\/secrets\//, ""));
  try {
    if (request.method === "POST") {
      await replace(name, nextGeneration);
      response.writeHead(204).end();
    } else {
      response.end((await agent.get({ name })).tokens.value);
    }
  } catch (error) {
    // The text of an error of the agent has no value in it.
    response.writeHead(error instanceof AgentError && error.status > 0 ? error.status : 500).end(String(error.message));
  }
});
server.listen(Number(process.env.PORT), "127.0.0.1");
