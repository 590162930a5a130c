// Classifies a photo: URL PHOTO LABEL ...; prints the answer.
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [url, photo, ...labels] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url });
const images = [readFileSync(photo).toString("base64")];
const { data, error } = await client.POST("/classify", { body: { images, labels } });
if (error) throw new Error(error.detail);
console.log(JSON.stringify(data.results[0]));
