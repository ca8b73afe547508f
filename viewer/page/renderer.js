// Draws Gaussians with WebGL2: one pass projects all of them, a second blends their quads into a
// picture of half floats, a third shows it. Bytes would round after each of hundreds of layers.
'use strict';

const QUADS = 256; // an instance
const UINTS = {
  1: ['R32UI', 'RED_INTEGER'],
  2: ['RG32UI', 'RG_INTEGER'],
  4: ['RGBA32UI', 'RGBA_INTEGER'],
};

class Renderer {
  /** Throws an Error with a sentence for people where the device cannot draw. */
  constructor(canvas) {
    const options = { alpha: false, antialias: false, depth: false, stencil: false };
    const gl = canvas.getContext('webgl2', { ...options, powerPreference: 'high-performance' });
    if (!gl) {
      throw new Error(
        'This page needs WebGL 2, which this browser does not offer; use a current browser, and ' +
          'see that its graphics acceleration is switched on.',
      );
    }
    this.canvas = canvas;
    this.gl = gl;
    const floats =
      gl.getExtension('EXT_color_buffer_float') ?? gl.getExtension('EXT_color_buffer_half_float');
    this.pixels = floats ? [gl.RGBA16F, gl.HALF_FLOAT] : [gl.RGBA8, gl.UNSIGNED_BYTE];
    this.project = this.#program('cover.vert', 'project.frag');
    this.blend = this.#program('splat.vert', 'splat.frag');
    this.present = this.#program('cover.vert', 'present.frag');
    this.#corners();
    this.fences = []; // each behind one of the last two pictures
    this.picture = { width: 0, height: 0, texture: null, frame: gl.createFramebuffer() };
  }

  /** Hand the scene over, once. */
  load({ count, degree, antialiased, texels }) {
    const { gl } = this;
    const { row, height, shapes, paints, harmonics, motions } = texels;
    if (height > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
      throw new Error(`The scene has ${count} Gaussians, more than this graphics card can hold.`);
    }
    this.scene = { count, degree, antialiased, row, height, moving: motions !== null };
    this.shapes = this.#uints(4, row, height, shapes);
    this.paints = this.#uints(2, row, height, paints);
    this.motions = motions ? this.#uints(4, row, height, motions) : this.#uints(4, 1, 1, null);
    this.order = this.#uints(1, row, height, null);
    this.drawn = 0;
    this.harmonics = this.#layers(row, height, harmonics);
    this.outlines = this.#uints(4, row, height, null);
    this.projected = this.#uints(4, row, height, null);
    this.projection = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.projection);
    [this.outlines, this.projected].forEach((texture, i) => {
      const point = gl.COLOR_ATTACHMENT0 + i;
      gl.framebufferTexture2D(gl.FRAMEBUFFER, point, gl.TEXTURE_2D, texture, 0);
    });
    gl.drawBuffers([gl.COLOR_ATTACHMENT0, gl.COLOR_ATTACHMENT1]);
  }

  /** The rows to draw, farthest first: the first `count` of `order`. */
  arrange(order, count) {
    const { gl } = this;
    const { row } = this.scene;
    gl.bindTexture(gl.TEXTURE_2D, this.order);
    const kind = [gl.RED_INTEGER, gl.UNSIGNED_INT];
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, row, Math.ceil(count / row), ...kind, order);
    this.drawn = count;
  }

  /**
   * Draw into the canvas what a camera sees: {right, down, forward, eye} in the world, {focal,
   * middle, size} in pixels of the picture, the depth `near`, and the colour that is `behind`.
   */
  draw(camera) {
    const { gl } = this;
    this.#resize(...camera.size);
    this.#project(camera);
    this.#blend(camera);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    this.#use(this.present, { picture: this.picture.texture }, { behind: camera.behind });
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    this.fences.push(gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0));
    if (this.fences.length > 2) gl.deleteSync(this.fences.shift());
    gl.flush();
  }

  /** Whether the last picture but one is still being drawn: more would only queue up behind it. */
  get busy() {
    const { gl, fences } = this;
    return fences.length > 1 && gl.getSyncParameter(fences[0], gl.SYNC_STATUS) === gl.UNSIGNALED;
  }

  #project(camera) {
    const { gl } = this;
    const { row, height, count, degree, antialiased, moving } = this.scene;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.projection);
    gl.viewport(0, 0, row, height);
    const { shapes, paints, harmonics, motions } = this;
    const values = { ...camera, count, degree, antialiased, moving };
    this.#use(this.project, { shapes, paints, harmonics, motions }, values);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  #blend({ size }) {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.picture.frame);
    gl.viewport(0, 0, ...size);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA); // colours come multiplied by alpha
    const { order, outlines, projected: paints } = this;
    this.#use(this.blend, { order, outlines, paints }, { count: this.drawn, quads: QUADS, size });
    gl.bindVertexArray(this.quads);
    const instances = Math.ceil(this.drawn / QUADS);
    gl.drawElementsInstanced(gl.TRIANGLES, 6 * QUADS, gl.UNSIGNED_SHORT, 0, instances);
    gl.bindVertexArray(null);
    gl.disable(gl.BLEND);
  }

  #resize(width, height) {
    const { gl, picture } = this;
    if (picture.width === width && picture.height === height) return;
    gl.deleteTexture(picture.texture);
    const [format, type] = this.pixels;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, format, width, height, 0, gl.RGBA, type, null);
    this.#sampled(gl.TEXTURE_2D, gl.LINEAR);
    gl.bindFramebuffer(gl.FRAMEBUFFER, picture.frame);
    const point = gl.COLOR_ATTACHMENT0;
    gl.framebufferTexture2D(gl.FRAMEBUFFER, point, gl.TEXTURE_2D, texture, 0);
    Object.assign(picture, { width, height, texture });
  }

  /** A texture of whole numbers, `parts` of 32 bits to a texel. */
  #uints(parts, width, height, values) {
    const { gl } = this;
    const [format, kind] = UINTS[parts];
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl[format], width, height);
    if (values) {
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, gl[kind], gl.UNSIGNED_INT, values);
    }
    this.#sampled(gl.TEXTURE_2D, gl.NEAREST);
    return texture;
  }

  /** Texels in layers; where there are none a single one stands in, as samplers need a texture. */
  #layers(width, height, { layers, texels }) {
    const { gl } = this;
    const target = gl.TEXTURE_2D_ARRAY;
    const size = layers ? [width, height, layers] : [1, 1, 1];
    const texture = gl.createTexture();
    gl.bindTexture(target, texture);
    gl.texStorage3D(target, 1, gl.RGBA32UI, ...size);
    if (layers) {
      gl.texSubImage3D(target, 0, 0, 0, 0, ...size, gl.RGBA_INTEGER, gl.UNSIGNED_INT, texels);
    }
    this.#sampled(target, gl.NEAREST);
    return texture;
  }

  #sampled(target, filter) {
    const { gl } = this;
    gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, filter);
    gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, filter);
    gl.texParameteri(target, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(target, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }

  /** Indices of two triangles for each of an instance's quads; corners follow from their number. */
  #corners() {
    const { gl } = this;
    const indices = new Uint16Array(6 * QUADS);
    for (let quad = 0; quad < QUADS; quad++) {
      indices.set([0, 1, 2, 2, 1, 3].map((corner) => 4 * quad + corner), 6 * quad);
    }
    this.quads = gl.createVertexArray();
    gl.bindVertexArray(this.quads);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
  }

  /** A program of two shaders of this page, with what it takes to set its uniforms. */
  #program(...names) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const name of names) {
      const kind = name.endsWith('.vert') ? gl.VERTEX_SHADER : gl.FRAGMENT_SHADER;
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, document.getElementById(name).textContent.trim());
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      const logs = gl.getAttachedShaders(program).map((shader) => gl.getShaderInfoLog(shader));
      console.error(names.join(', '), gl.getProgramInfoLog(program), ...logs);
      throw new Error("This device's graphics driver cannot run the programs of this page.");
    }
    const uniforms = new Map();
    const number = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS);
    for (let i = 0; i < number; i++) {
      const { name, type } = gl.getActiveUniform(program, i);
      uniforms.set(name, { type, place: gl.getUniformLocation(program, name) });
    }
    return { program, uniforms };
  }

  /** Make a program current and set its uniforms; those that it does not have are passed over. */
  #use({ program, uniforms }, textures, values = {}) {
    const { gl } = this;
    gl.useProgram(program);
    Object.entries(textures).forEach(([name, texture], unit) => {
      const { type, place } = uniforms.get(name);
      const array = type === gl.UNSIGNED_INT_SAMPLER_2D_ARRAY;
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(array ? gl.TEXTURE_2D_ARRAY : gl.TEXTURE_2D, texture);
      gl.uniform1i(place, unit);
    });
    gl.activeTexture(gl.TEXTURE0);
    for (const [name, value] of Object.entries(values)) {
      const { type, place } = uniforms.get(name) ?? {};
      if (type === gl.FLOAT) gl.uniform1f(place, value);
      else if (type === gl.FLOAT_VEC2) gl.uniform2fv(place, value);
      else if (type === gl.FLOAT_VEC3) gl.uniform3fv(place, value);
      else if (type !== undefined) gl.uniform1i(place, value);
    }
  }
}
