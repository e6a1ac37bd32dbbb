// What each client does with every transport: a response, an error with
// details, a stream, and a refusal. tsc checks the types.
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import createREST from "openapi-fetch";
import { Daw, ProductService, WatchProductsResponse_Kind } from "gatehouse-client/audioarchive/v1/product_pb.js";
import { StatusService } from "gatehouse-client/audioarchive/v1/status_pb.js";
import { BadRequestSchema, ErrorInfoSchema } from "gatehouse-client/google/rpc/error_details_pb.js";
import type { paths } from "gatehouse-client/rest.js";

function want(ok: boolean, what: string, got: unknown): asserts ok {
  if (!ok) {
    throw new Error(`${what}: got ${String(got)}`);
  }
}

async function refusal(call: Promise<unknown>): Promise<ConnectError> {
  try {
    await call;
  } catch (e) {
    return ConnectError.from(e);
  }
  throw new Error("the call was not refused");
}

const price = { currencyCode: "EUR", amountMinor: 900n };

// signedIn calls as a user with the permission to sell.
export async function signedIn(transport: Transport): Promise<void> {
  const status = createClient(StatusService, transport);
  const answer = await status.getPrivateRoute({});
  want(answer.message === "This is a private route", "private route", answer.message);

  const products = createClient(ProductService, transport);
  const title = `By ${crypto.randomUUID()}`;
  const bad = await refusal(products.createProduct({ product: { title: "", daw: Daw.REAPER, price } }));
  want(bad.code === Code.InvalidArgument, "a product without a title", bad);
  const fields = bad.findDetails(BadRequestSchema).flatMap((d) => d.fieldViolations.map((v) => v.field));
  want(fields.includes("product.title"), "the fields at fault", fields);

  const hangUp = new AbortController();
  let created = "";
  let seen = "";
  try {
    for await (const change of products.watchProducts({}, { signal: hangUp.signal, timeoutMs: 60_000 })) {
      if (change.kind === WatchProductsResponse_Kind.READY) {
        const product = await products.createProduct({ product: { title, daw: Daw.REAPER, price } });
        want(product.title === title && product.price?.amountMinor === 900n, "the product", product.title);
        created = product.name;
      } else if (change.product?.title === title) {
        seen = change.product.name;
        hangUp.abort();
      }
    }
  } catch (e) {
    want(seen !== "" && ConnectError.from(e).code === Code.Canceled, "the end of the stream", e);
  }
  want(seen === created, "what the stream told", seen);

  const found = await products.getProduct({ name: created }, { timeoutMs: 30_000 });
  want(found.etag !== "" && found.createTime !== undefined, "the product's etag and time", found.etag);
  await products.deleteProduct({ name: created });
  const gone = await refusal(products.getProduct({ name: created }));
  want(gone.code === Code.NotFound, "the product after its end", gone);
}

// signedOut calls without a token.
export async function signedOut(transport: Transport): Promise<void> {
  const list = await createClient(ProductService, transport).listProducts({ pageSize: 1 });
  want(list.products.length === 1, "a public list", list.products.length);
  const no = await refusal(createClient(StatusService, transport).getPrivateRoute({}));
  want(no.code === Code.Unauthenticated, "without a token", no);
  want(no.findDetails(ErrorInfoSchema)[0]?.reason === "TOKEN_MISSING", "why", no.details);
  want(no.metadata.get("www-authenticate")?.startsWith("Bearer ") === true, "the challenge", no.metadata.get("www-authenticate"));
  const stream = createClient(ProductService, transport).watchProducts({});
  const refused = await refusal(stream[Symbol.asyncIterator]().next());
  want(refused.code === Code.Unauthenticated, "a stream without a token", refused);
}

// rest calls the REST paths of the same API.
export async function rest(base: string, token: string): Promise<void> {
  const api = createREST<paths>({ baseUrl: base, headers: token === "" ? {} : { Authorization: `Bearer ${token}` } });
  const list = await api.GET("/api/products", { params: { query: { pageSize: 1 } } });
  want(list.data?.products?.length === 1, "the list by REST", list.response.status);
  const none = await api.GET("/api/products/{product}", { params: { path: { product: "none" } } });
  want(none.error?.code === 5, "a product that is not there", none.response.status);
}
