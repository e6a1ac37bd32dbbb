// Shows the document in Swagger UI.
const main = document.getElementById("reference");

// What a person can use here: a token. The session goes with every request by
// itself, and the provider's metadata lies on another origin, which this page
// may not ask.
function usableHere(spec) {
  const schemes = spec.components.securitySchemes;
  for (const name of ["openid", "session"]) delete schemes[name];
  for (const item of Object.values(spec.paths)) {
    for (const operation of Object.values(item)) {
      operation.security = operation.security?.filter((way) => Object.keys(way).every((name) => name in schemes));
    }
  }
  return spec;
}

async function show() {
  const response = await fetch(main.dataset.document);
  if (!response.ok) throw new Error(`${main.dataset.document}: ${response.status}`);
  SwaggerUIBundle({
    spec: usableHere(await response.json()),
    domNode: main,
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    // Swagger UI would keep a token in local storage, where it outlives the tab.
    persistAuthorization: false,
    validatorUrl: null,
    // The API is where this page is; there is no choice to offer, and its menu
    // has no name that a screen reader could tell.
    plugins: [() => ({ components: { ServersContainer: () => null } })],
    onComplete: () => (main.dataset.ready = ""),
  });
}

show().catch((error) => {
  main.textContent = `The reference cannot be shown: ${error.message}`;
});
