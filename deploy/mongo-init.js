// Makes the replica set and the server's own user. Safe to run again: it looks first.

const login = `root:${encodeURIComponent(process.env.ROOT_PASSWORD)}`;

// The first member answers a little after its container is healthy, and a primary is elected a
// little after the set is made: a minute at most.
function patiently(address) {
  for (let tries = 1; ; tries++) {
    try {
      return connect(address);
    } catch (error) {
      if (tries === 60) throw error;
      sleep(1000);
    }
  }
}

const one = patiently(`mongodb://${login}@mongo1/admin?directConnection=true`);
try {
  one.adminCommand({ replSetGetStatus: 1 });
} catch (error) {
  if (error.codeName !== "NotYetInitialized") throw error;
  const members = ["mongo1", "mongo2", "mongo3"];
  one.adminCommand({
    replSetInitiate: {
      _id: "rs0",
      members: members.map((host, _id) => ({ _id, host: `${host}:27017` })),
    },
  });
}

const set = patiently(
  `mongodb://${login}@mongo1,mongo2,mongo3/admin?replicaSet=rs0&serverSelectionTimeoutMS=5000`,
);
const database = set.getSiblingDB("whatsapp");
if (database.getUser("whatsapp") === null) {
  database.createUser({
    user: "whatsapp",
    pwd: process.env.PASSWORD,
    roles: [
      { role: "readWrite", db: "whatsapp" },
      { role: "dbAdmin", db: "whatsapp" },
    ],
  });
}
print("the replica set and the user are there");
